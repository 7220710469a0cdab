/** Where the header of a LUKS image in a file is, its fields, and how long it would keep an opening busy. */
import type { RawOptions } from '@vmblock/block-core'

/** Bytes of the header with all its key slots. */
export const HEADER_BYTES = 592
/** Offset of the first key slot in the header. */
const SLOTS_AT = 208
const SLOT_BYTES = 48
const SLOTS = 8
/** The state of a slot that is in use. */
export const ACTIVE = 0x00ac_71f3
/** Iterations of the digest. */
const DIGEST_ITERATIONS = 164

/** Iterations that a test waits for; those above, and below what is refused, would take what they are worth. */
const PATIENCE = 200_000
/** Iterations of PBKDF2 above which a header is refused. */
const REFUSED = 200_000_000

/** Creation options of an image whose keys take as little time as they can. */
export const LUKS: RawOptions = {
  'encrypt.format': 'luks',
  'encrypt.key-secret': 's',
  'encrypt.iter-time': 1,
  'encrypt.cipher-alg': 'aes-128',
  'encrypt.cipher-mode': 'cbc',
}

/** Offset of the header in an image; -1 if there is none. */
export const luksHeaderIn = (image: Uint8Array): number =>
  Buffer.from(image.buffer, image.byteOffset, image.byteLength).indexOf('LUKS\xba\xbe', 'latin1')

/** Offsets of the 32-bit fields that locate, count or size something: of the header, and of one slot. */
export const luksFields = (slot: number): readonly number[] => {
  const at = SLOTS_AT + slot * SLOT_BYTES
  return [6, 104, 108, DIGEST_ITERATIONS, at, at + 4, at + 40, at + 44]
}

/** Whether an opening makes no more iterations than a test waits for: few, or none because they are refused. */
export function isQuick(header: Uint8Array): boolean {
  if (header.length < HEADER_BYTES) return true
  const view = new DataView(header.buffer, header.byteOffset)
  let sum = 0
  for (let slot = 0; slot < SLOTS; slot++) {
    const at = SLOTS_AT + slot * SLOT_BYTES
    if (view.getUint32(at) === ACTIVE) sum += view.getUint32(at + 4) + view.getUint32(DIGEST_ITERATIONS)
  }
  return sum <= PATIENCE || sum > REFUSED
}
