/** What ciphers and key slots are made of: supplied by OpenSSL in Node.js, by WebCrypto and audited code in pages. */

/** Hash algorithms, by the names that LUKS headers have, and the bytes of their digests. */
export const HASHES = {
  md5: 16,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
  ripemd160: 20,
} as const

/** The name of a hash algorithm. */
export type HashName = keyof typeof HASHES

/** AES on blocks of 16 bytes, each by itself. Every mode is built on it: one call then serves many sectors. */
export interface BlockCipher {
  /** @param blocks whole blocks. @returns as many bytes */
  encrypt(blocks: Uint8Array): Uint8Array
  /** As {@link encrypt}. */
  decrypt(blocks: Uint8Array): Uint8Array
  /** Forgets the key. */
  close(): void
}

/** The variants of Argon2 that key slots of LUKS version 2 name. */
export type Argon2Variant = 'argon2i' | 'argon2id'

/** What deriving a key costs. */
export interface Argon2Cost {
  /** Times that the memory is filled. */
  readonly passes: number
  /** KiB. */
  readonly memory: number
  /** Threads that could share the work. */
  readonly lanes: number
}

/** See the head of this file. */
export interface Primitives {
  /** @param key 16, 24 or 32 bytes, of which the cipher keeps its own copy */
  blockCipher(key: Uint8Array): BlockCipher
  hash(name: HashName, data: Uint8Array): Uint8Array
  /** Derives a key of `bytes` bytes from a passphrase; other work goes on meanwhile. */
  pbkdf2(
    hash: HashName,
    passphrase: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    bytes: number,
  ): Promise<Uint8Array>
  /**
   * Derives a key by Argon2, version 1.3; other work goes on meanwhile.
   *
   * @throws BlockError ENOMEM if the memory cannot be had; ENOTSUP for more than the platform can address; EIO if the code
   *   for it cannot be loaded
   */
  argon2(
    variant: Argon2Variant,
    passphrase: Uint8Array,
    salt: Uint8Array,
    cost: Argon2Cost,
    bytes: number,
  ): Promise<Uint8Array>
}

/** Most bytes that a platform gives at once. */
const RANDOM_PIECE = 65536

/** Fills an array with random bytes for keys and salts. @returns the array */
export function fillRandom(into: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  for (let at = 0; at < into.length; at += RANDOM_PIECE)
    crypto.getRandomValues(into.subarray(at, at + RANDOM_PIECE))
  return into
}
