/**
 * In pages, WebCrypto derives keys. It has neither AES block by block nor XTS, and its hashes make a promise for each of
 * the thousands of pieces of a key slot: those come from audited JavaScript.
 */
import { ecb } from '@noble/ciphers/aes.js'
import { md5, ripemd160, sha1 } from '@noble/hashes/legacy.js'
import { pbkdf2Async } from '@noble/hashes/pbkdf2.js'
import { sha224, sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import { argon2 } from './argon2.ts'
import type { BlockCipher, HashName, Primitives } from './primitives.ts'

const HASH_CODE = { md5, sha1, sha224, sha256, sha384, sha512, ripemd160 }

/** Hashes that WebCrypto derives keys with. */
const NATIVE: Partial<Record<HashName, string>> = {
  sha1: 'SHA-1',
  sha256: 'SHA-256',
  sha384: 'SHA-384',
  sha512: 'SHA-512',
}

const RAW_BLOCKS = { disablePadding: true }

function blockCipher(key: Uint8Array): BlockCipher {
  const kept = new Uint8Array(key)
  // An instance encrypts once.
  return {
    encrypt: (blocks) => ecb(kept, RAW_BLOCKS).encrypt(blocks),
    decrypt: (blocks) => ecb(kept, RAW_BLOCKS).decrypt(blocks),
    close() {
      kept.fill(0)
    },
  }
}

const pbkdf2: Primitives['pbkdf2'] = async (hash, passphrase, salt, iterations, bytes) => {
  const native = NATIVE[hash]
  // Pages that are not served securely have no WebCrypto.
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined
  if (native === undefined || !subtle)
    return pbkdf2Async(HASH_CODE[hash], passphrase, salt, { c: iterations, dkLen: bytes })
  const key = await subtle.importKey('raw', new Uint8Array(passphrase), 'PBKDF2', false, ['deriveBits'])
  const derivation = { name: 'PBKDF2', hash: native, salt: new Uint8Array(salt), iterations }
  return new Uint8Array(await subtle.deriveBits(derivation, key, bytes * 8))
}

/** The primitives of pages and workers. */
export const browserPrimitives: Primitives = {
  blockCipher,
  hash: (name, data) => HASH_CODE[name](data),
  pbkdf2,
  argon2,
}
