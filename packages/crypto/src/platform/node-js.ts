/** In Node.js, everything comes from its OpenSSL. */
import { createCipheriv, createDecipheriv, createHash, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'
import type { BlockCipher, Primitives } from './primitives.ts'

const derive = promisify(pbkdf2)

/** One OpenSSL context for each direction serves all requests: blocks do not depend on each other. */
function blockCipher(key: Uint8Array): BlockCipher {
  const name = `aes-${key.length * 8}-ecb`
  // Of a Buffer, slice() would be the caller's array.
  const kept = new Uint8Array(key)
  const open = {
    encrypt: () => createCipheriv(name, kept, null).setAutoPadding(false),
    decrypt: () => createDecipheriv(name, kept, null).setAutoPadding(false),
  }
  let encipher: ReturnType<typeof open.encrypt> | undefined
  let decipher: ReturnType<typeof open.decrypt> | undefined
  return {
    encrypt(blocks) {
      encipher ??= open.encrypt()
      return encipher.update(blocks)
    },
    decrypt(blocks) {
      decipher ??= open.decrypt()
      return decipher.update(blocks)
    },
    close() {
      // OpenSSL overwrites the key of a context that is finished.
      encipher?.final()
      decipher?.final()
      kept.fill(0)
    },
  }
}

/** The primitives of Node.js. */
export const nodePrimitives: Primitives = {
  blockCipher,
  hash: (name, data) => createHash(name).update(data).digest(),
  pbkdf2: (hash, passphrase, salt, iterations, bytes) => derive(passphrase, salt, iterations, bytes, hash),
}
