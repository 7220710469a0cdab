/** In Node.js, everything comes from its OpenSSL. */
import { createCipheriv, createDecipheriv, createHash, pbkdf2 } from 'node:crypto'
import process from 'node:process'
import { promisify } from 'node:util'
import { argon2 } from './argon2.ts'
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

/** `crypto.argon2` of Node.js 24.7 and later. */
type NativeArgon2 = (
  variant: string,
  parameters: {
    readonly message: Uint8Array
    readonly nonce: Uint8Array
    readonly parallelism: number
    readonly tagLength: number
    readonly memory: number
    readonly passes: number
  },
  done: (error: Error | null, key: Uint8Array) => void,
) => void

/** A bundler would look for the name when it builds, in the version of Node.js that it runs in. */
const nativeArgon2 = (): NativeArgon2 | undefined =>
  (process.getBuiltinModule?.('node:crypto') as { readonly argon2?: NativeArgon2 } | undefined)?.argon2

/** By OpenSSL where Node.js passes it on: four times as fast, in all threads. */
const argon2OfNode: Primitives['argon2'] = async (variant, passphrase, salt, cost, bytes) => {
  const native = nativeArgon2()
  if (!native) return argon2(variant, passphrase, salt, cost, bytes)
  const { passes, memory, lanes: parallelism } = cost
  const parameters = { message: passphrase, nonce: salt, parallelism, tagLength: bytes, memory, passes }
  return new Promise((resolve, reject) => {
    native(variant, parameters, (error, key) => (error ? reject(error) : resolve(new Uint8Array(key))))
  })
}

/** The primitives of Node.js. */
export const nodePrimitives: Primitives = {
  blockCipher,
  hash: (name, data) => createHash(name).update(data).digest(),
  pbkdf2: (hash, passphrase, salt, iterations, bytes) => derive(passphrase, salt, iterations, bytes, hash),
  argon2: argon2OfNode,
}
