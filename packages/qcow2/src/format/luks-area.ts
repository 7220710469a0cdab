/** The size of the area that LUKS takes: its header, and the key material of eight slots. */
import { alignUp, BlockError, SECTOR } from '@vmblock/block-core/driver'

/** Bytes of a key, by the name of the cipher. */
const KEY_BYTES: Readonly<Record<string, number>> = {
  'aes-128': 16,
  'aes-192': 24,
  'aes-256': 32,
  'cast5-128': 16,
  'serpent-128': 16,
  'serpent-192': 24,
  'serpent-256': 32,
  'twofish-128': 16,
  'twofish-192': 24,
  'twofish-256': 32,
}
const SLOTS = 8
const STRIPES = 4000
/** Bytes that header and slots are multiples of. */
const UNIT = 8 * SECTOR

/**
 * Bytes of the area, with QEMU's defaults for what is not given: aes-256 and xts, which takes two keys.
 *
 * @throws BlockError EINVAL for an unknown cipher
 */
export function luksAreaBytes(cipher = 'aes-256', mode = 'xts'): number {
  const key = Object.hasOwn(KEY_BYTES, cipher) ? KEY_BYTES[cipher] : undefined
  if (key === undefined)
    throw new BlockError('EINVAL', `Parameter 'cipher-alg' does not accept value '${cipher}'`)
  return UNIT + SLOTS * alignUp(key * (mode === 'xts' ? 2 : 1) * STRIPES, UNIT)
}
