/** AES-CBC over any number of blocks: the form in which programs are given encrypted secrets. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Primitives } from '../platform/primitives.ts'
import { BLOCK } from './initial-vectors.ts'

/** Decrypts whole blocks. @throws BlockError EINVAL for lengths that do not fit */
export function decryptCbc(
  primitives: Primitives,
  key: Uint8Array,
  iv: Uint8Array,
  data: Uint8Array,
): Uint8Array {
  if (![16, 24, 32].includes(key.length) || iv.length !== BLOCK || data.length % BLOCK !== 0)
    throw new BlockError(
      'EINVAL',
      'AES-CBC needs a key of 16, 24 or 32 bytes, a vector of 16, and whole blocks',
    )
  const cipher = primitives.blockCipher(key)
  try {
    const plain = cipher.decrypt(data).slice()
    for (let i = 0; i < plain.length; i++) plain[i]! ^= i < BLOCK ? iv[i]! : data[i - BLOCK]!
    return plain
  } finally {
    cipher.close()
  }
}
