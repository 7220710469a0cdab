/**
 * Decodes LZVN, which LZFSE uses for small content: literals and matches, in bytes. Source: the published reference code
 * of LZFSE (BSD licence).
 */
import { broken, tooLong, tooShort } from './lzfse-tables.ts'

/** A match follows up to three literals, and where it is: the last distance, or a new one of up to 16 bits. */
interface Step {
  readonly literal: number
  readonly match: number
  /** Undefined: the last one. */
  readonly distance: number | undefined
  /** Bytes of the code, without the literal. */
  readonly bytes: number
}

/** The bytes of the code that ends the data. */
const END_BYTES = 8

/**
 * Decodes a block.
 *
 * @param at where the data begins; it ends with the array
 * @param filled where the block begins in `out`; it ends at `end`
 * @throws Error if the data is broken, or does not give exactly that, or goes on
 */
export function decodeLzvn(data: Uint8Array, at: number, out: Uint8Array, filled: number, end: number): void {
  let next = at
  let to = filled
  let distance = 0
  for (;;) {
    const code = data[next]
    if (code === undefined) throw tooShort()
    if (code === 0x06) break
    if (code === 0x0e || code === 0x16) {
      next++
      continue
    }
    const step = stepAt(data, next, code)
    next += step.bytes
    if (step.literal > data.length - next) throw tooShort()
    if (step.literal + step.match > end - to) throw tooLong()
    out.set(data.subarray(next, next + step.literal), to)
    next += step.literal
    to += step.literal
    distance = step.distance ?? distance
    if (step.match === 0) continue
    if (distance === 0 || distance > to) throw broken()
    for (const last = to + step.match; to < last; to++) out[to] = out[to - distance]!
  }
  if (next + END_BYTES !== data.length || to !== end) throw broken()
}

function stepAt(data: Uint8Array, at: number, code: number): Step {
  const second = data[at + 1] ?? 0
  const third = data[at + 2] ?? 0
  // 1111MMMM, or 11110000 and a byte: a match alone.
  if (code > 0xf0) return { literal: 0, match: code & 0xf, distance: undefined, bytes: 1 }
  if (code === 0xf0) return { literal: 0, match: second + 16, distance: undefined, bytes: 2 }
  // 1110LLLL, or 11100000 and a byte: a literal alone.
  if (code > 0xe0) return { literal: code & 0xf, match: 0, distance: undefined, bytes: 1 }
  if (code === 0xe0) return { literal: second + 16, match: 0, distance: undefined, bytes: 2 }
  if (code >= 0xd0 || (code >= 0x70 && code < 0x80)) throw broken()
  // 101LLMMM DDDDDDMM DDDDDDDD
  if (code >= 0xa0 && code < 0xc0) {
    const match = ((code & 7) << 2) + (second & 3) + 3
    return { literal: (code >>> 3) & 3, match, distance: (third << 6) | (second >>> 2), bytes: 3 }
  }
  const literal = code >>> 6
  const match = ((code >>> 3) & 7) + 3
  switch (code & 7) {
    case 7: // LLMMM111 DDDDDDDD DDDDDDDD
      return { literal, match, distance: (third << 8) | second, bytes: 3 }
    case 6: // LLMMM110
      if (literal === 0) throw broken()
      return { literal, match, distance: undefined, bytes: 1 }
    default: // LLMMMDDD DDDDDDDD
      return { literal, match, distance: ((code & 7) << 8) | second, bytes: 2 }
  }
}
