/**
 * Apple Data Compression: literals, and matches in the last 64 KiB of the output. Nothing official describes it; these are
 * the facts that independent readers of disk images agree on.
 */

/** A literal: the number of its bytes in the other bits, less one. */
const LITERAL = 0x80
/** A match of three bytes: its length in the other bits, and two bytes of distance. */
const FAR = 0x40

/**
 * Decodes a chunk.
 *
 * @param size bytes of the chunk; what follows its end is ignored
 * @throws Error if the data is broken, or ends early
 */
export function decodeAdc(data: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size)
  let at = 0
  let filled = 0
  while (filled < size) {
    if (at >= data.length) throw new Error('The ADC data is too short')
    const control = data[at]!
    if (control >= LITERAL) {
      const bytes = (control & 0x7f) + 1
      const literal = data.subarray(at + 1, at + 1 + bytes)
      if (literal.length < bytes) throw new Error('The ADC data is too short')
      if (bytes > size - filled) throw new Error('The ADC data gives more than the chunk')
      out.set(literal, filled)
      at += 1 + bytes
      filled += bytes
      continue
    }
    const isFar = control >= FAR
    const needed = isFar ? 3 : 2
    if (at + needed > data.length) throw new Error('The ADC data is too short')
    const bytes = isFar ? (control & 0x3f) + 4 : ((control >>> 2) & 0xf) + 3
    const distance = isFar
      ? ((data[at + 1]! << 8) | data[at + 2]!) + 1
      : (((control & 3) << 8) | data[at + 1]!) + 1
    if (distance > filled) throw new Error('The ADC data refers to what is before its beginning')
    if (bytes > size - filled) throw new Error('The ADC data gives more than the chunk')
    for (const end = filled + bytes; filled < end; filled++) out[filled] = out[filled - distance]!
    at += needed
  }
  return out
}
