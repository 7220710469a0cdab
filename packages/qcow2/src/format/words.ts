/** 64-bit fields that may hold anything in a broken image, and names that need not be valid UTF-8. */
import { be, type Field, TWO_32 } from '@vmblock/block-core/driver'

/**
 * A 64-bit offset that is validated later, by a rule with a message of its own: above 2^53-1 it is read as
 * the nearest number instead of being refused at once as by `be.u64`.
 */
export const wide64 = (at: number): Field<number> => ({
  at,
  width: 8,
  get: (view, base) => view.getUint32(base + at) * TWO_32 + view.getUint32(base + at + 4),
  set: be.u64(at).set,
})

/** A number as C's `%#x` prints it, in QEMU's messages: zero has no prefix. */
export const prefixedHex = (value: number): string => (value === 0 ? '0' : `0x${value.toString(16)}`)

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * A name as text, up to its first NUL as a C string ends. Bytes that are not UTF-8 become lone surrogates
 * U+DC80 to U+DCFF (Python's "surrogateescape"), so that `encodeName` gives the very same bytes back:
 * rewriting a header must not change the name of a file.
 */
export function decodeName(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  const name = end < 0 ? bytes : bytes.subarray(0, end)
  try {
    return utf8.decode(name)
  } catch {
    return Array.from(name, (byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join('')
  }
}
