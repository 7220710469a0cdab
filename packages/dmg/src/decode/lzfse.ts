/**
 * Decodes LZFSE, Apple's compression: blocks of which each says how it is compressed. Source: the published description
 * and reference code of LZFSE (BSD licence). No library for it is there.
 */
import {
  BackwardBits,
  bitsAt,
  broken,
  DISTANCES,
  frequencyAt,
  LITERAL_LENGTHS,
  MATCH_LENGTHS,
  stateTable,
  tooLong,
  tooShort,
  Values,
} from './lzfse-tables.ts'
import { decodeLzvn } from './lzvn.ts'

/** The first four bytes of blocks, little endian: `bvx$`, `bvx-`, `bvx1`, `bvx2`, `bvxn`. */
const MAGIC = {
  end: 0x24787662,
  plain: 0x2d787662,
  v1: 0x31787662,
  v2: 0x32787662,
  lzvn: 0x6e787662,
} as const

/** States of the streams, and how many symbols each has, in the order of their frequencies. */
const STREAMS = [
  ['lengths', 64, 20],
  ['matches', 64, 20],
  ['distances', 256, 64],
  ['literals', 1024, 256],
] as const

/** The most literals and matches of a block, of the reference. */
const MAX_LITERALS = 40_000
const MAX_MATCHES = 10_000

/** Bytes of the header of `bvx1`, and of the part of that of `bvx2` that is always there. */
const V1_BYTES = 772
const V2_BYTES = 32

/** A header of a block with states: all numbers of bytes, counts and states. */
interface Header {
  readonly bytes: number
  readonly size: number
  readonly literals: number
  readonly matches: number
  readonly literalBytes: number
  readonly matchBytes: number
  readonly literalUnused: number
  readonly matchUnused: number
  readonly literalStates: readonly number[]
  readonly lengthState: number
  readonly matchState: number
  readonly distanceState: number
  /** Of all symbols, in the order of {@link STREAMS}. */
  readonly frequencies: Uint16Array
}

const SYMBOLS = STREAMS.reduce((sum, [, , symbols]) => sum + symbols, 0)

/**
 * Decodes a chunk.
 *
 * @param size bytes of the chunk; what follows the end of the data is ignored
 * @throws Error if the data is broken, or does not give exactly that
 */
export function decodeLzfse(data: Uint8Array, size: number): Uint8Array {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const out = new Uint8Array(size)
  let at = 0
  let filled = 0
  const word = (offset: number): number => {
    if (at + offset + 4 > data.length) throw tooShort()
    return view.getUint32(at + offset, true)
  }
  for (;;) {
    const magic = word(0)
    if (magic === MAGIC.end) break
    const bytes = word(4)
    if (bytes > size - filled) throw tooLong()
    if (magic === MAGIC.plain) {
      at += 8
      if (bytes > data.length - at) throw tooShort()
      out.set(data.subarray(at, at + bytes), filled)
      at += bytes
    } else if (magic === MAGIC.lzvn) {
      const packed = word(8)
      at += 12
      if (packed > data.length - at) throw tooShort()
      decodeLzvn(data.subarray(0, at + packed), at, out, filled, filled + bytes)
      at += packed
    } else if (magic === MAGIC.v1 || magic === MAGIC.v2) {
      const header = magic === MAGIC.v1 ? readV1(data, view, at) : readV2(data, view, at)
      at = decodeBlock(data, at + header.size, header, out, filled)
    } else throw broken()
    filled += bytes
  }
  if (filled < size) throw new Error('The LZFSE data gives less than the chunk')
  return out
}

/** A header in full: the encoders of today make none. */
function readV1(data: Uint8Array, view: DataView, at: number): Header {
  if (at + V1_BYTES > data.length) throw tooShort()
  const word = (offset: number): number => view.getUint32(at + offset, true)
  const half = (offset: number): number => view.getUint16(at + offset, true)
  return {
    bytes: word(4),
    size: V1_BYTES,
    literals: word(12),
    matches: word(16),
    literalBytes: word(20),
    matchBytes: word(24),
    literalUnused: -view.getInt32(at + 28, true),
    literalStates: [half(32), half(34), half(36), half(38)],
    matchUnused: -view.getInt32(at + 40, true),
    lengthState: half(44),
    matchState: half(46),
    distanceState: half(48),
    frequencies: Uint16Array.from({ length: SYMBOLS }, (_, symbol) => half(50 + symbol * 2)),
  }
}

/** A header with packed numbers, and frequencies in codes of a few bits. */
function readV2(data: Uint8Array, view: DataView, at: number): Header {
  if (at + V2_BYTES > data.length) throw tooShort()
  const field = (bit: number, count: number): number => bitsAt(data, (at + 8) * 8 + bit, count)
  const size = view.getUint32(at + 24, true)
  if (size < V2_BYTES || size > data.length - at) throw broken()
  const frequencies = new Uint16Array(SYMBOLS)
  let bit = (at + V2_BYTES) * 8
  const end = (at + size) * 8
  for (let symbol = 0; symbol < SYMBOLS && size > V2_BYTES; symbol++) {
    const [frequency, bits] = frequencyAt(data, bit)
    frequencies[symbol] = frequency
    bit += bits
  }
  if (bit > end || end - bit >= 8) throw broken()
  return {
    bytes: view.getUint32(at + 4, true),
    size,
    literals: field(0, 20),
    literalBytes: field(20, 20),
    matches: field(40, 20),
    literalUnused: 7 - field(60, 3),
    literalStates: [field(64, 10), field(74, 10), field(84, 10), field(94, 10)],
    matchBytes: field(104, 20),
    matchUnused: 7 - field(124, 3),
    lengthState: field(160, 10),
    matchState: field(170, 10),
    distanceState: field(180, 10),
    frequencies,
  }
}

/** Decodes a block to `out` from `filled` on. @returns where its data ends */
function decodeBlock(data: Uint8Array, at: number, header: Header, out: Uint8Array, filled: number): number {
  const { literalBytes, matchBytes, literals, matches, literalUnused, matchUnused } = header
  const middle = at + literalBytes
  const end = middle + matchBytes
  if (end > data.length) throw tooShort()
  if (literals > MAX_LITERALS || matches > MAX_MATCHES) throw broken()
  for (const unused of [literalUnused, matchUnused]) if (unused < 0 || unused > 7) throw broken()
  const tables = tablesOf(header.frequencies)
  const literal = takeLiterals(
    new BackwardBits(data, at, middle, literalUnused),
    header.literalStates.map((state) => new Values(tables.literals, state)),
    literals,
  )
  const stream = new BackwardBits(data, middle, end, matchUnused)
  const lengths = new Values(tables.lengths, header.lengthState)
  const matchLengths = new Values(tables.matches, header.matchState)
  const distances = new Values(tables.distances, header.distanceState)
  const last = filled + header.bytes
  let to = filled
  let used = 0
  let distance = 0
  for (let i = 0; i < matches; i++) {
    const length = lengths.take(stream)
    const match = matchLengths.take(stream)
    // Zero: the same distance again.
    distance = distances.take(stream) || distance
    if (length > literals - used || length + match > last - to) throw broken()
    out.set(literal.subarray(used, used + length), to)
    used += length
    to += length
    if (match > 0 && (distance === 0 || distance > to)) throw broken()
    for (const stop = to + match; to < stop; to++) out[to] = out[to - distance]!
  }
  if (to !== last) throw broken()
  return end
}

function tablesOf(frequencies: Uint16Array) {
  let at = 0
  const next = (symbols: number): Uint16Array => {
    at += symbols
    return frequencies.subarray(at - symbols, at)
  }
  const [lengths, matches, distances, literals] = STREAMS.map(
    ([, states, symbols]) => [states, next(symbols)] as const,
  )
  return {
    lengths: stateTable(...lengths!, LITERAL_LENGTHS),
    matches: stateTable(...matches!, MATCH_LENGTHS),
    distances: stateTable(...distances!, DISTANCES),
    literals: stateTable(...literals!),
  }
}

/** The literals of a block: four streams of states take turns. */
function takeLiterals(stream: BackwardBits, states: readonly Values[], count: number): Uint8Array {
  const literals = new Uint8Array(Math.ceil(count / 4) * 4)
  for (let i = 0; i < count; i += 4) for (let j = 0; j < 4; j++) literals[i + j] = states[j]!.take(stream)
  return literals
}
