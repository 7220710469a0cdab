/**
 * Decodes bzip2: one stream of a known size. Its blocks are Huffman codes of run lengths of a move-to-front list of a
 * Burrows-Wheeler transform of run lengths. Source: what bzip2 1.0 writes, as its documentation and independent
 * decoders describe it. Libraries for it need Node's Buffer, or bring a megabyte.
 */
import { crc32OfBzip2 } from './crc.ts'

/** The first 24 bits of a block, and the next: the digits of pi. */
const BLOCK = [0x314159, 0x265359] as const
/** Those of the end of the stream: the digits of its square root. */
const END = [0x177245, 0x385090] as const

/** Bits of the longest code. */
const LONGEST = 20
/** Codes of up to so many bits are found in a table. */
const SHORT = 9
/** Symbols for which one code table is used, before the next is chosen. */
const GROUP = 50
/** The symbols of the digits of a run length; the others are places in the list, and the end of the block. */
const RUN_A = 0
const RUN_B = 1

const broken = (): Error => new Error('The bzip2 data is broken')
const tooShort = (): Error => new Error('The bzip2 data is too short')

/** Bits, the highest of each byte first. */
class Bits {
  readonly #data: Uint8Array
  #at: number
  #value = 0
  #count = 0

  constructor(data: Uint8Array, at: number) {
    this.#data = data
    this.#at = at
  }

  /** @param count 1 to 24 */
  take(count: number): number {
    while (this.#count < count) {
      if (this.#at >= this.#data.length) throw tooShort()
      this.#value = ((this.#value & 0xffffff) << 8) | this.#data[this.#at++]!
      this.#count += 8
    }
    this.#count -= count
    return (this.#value >>> this.#count) & ((1 << count) - 1)
  }

  /** The next {@link LONGEST} bits, which stay there; zeroes behind the end of the data. */
  peek(): number {
    while (this.#count < LONGEST) {
      this.#value = ((this.#value & 0xffffff) << 8) | (this.#data[this.#at++] ?? 0)
      this.#count += 8
    }
    return (this.#value >>> (this.#count - LONGEST)) & ((1 << LONGEST) - 1)
  }

  /** @throws Error behind the end of the data */
  skip(count: number): void {
    this.#count -= count
    if (this.#at - Math.floor(this.#count / 8) > this.#data.length) throw tooShort()
  }

  take32(): number {
    return this.take(16) * 65536 + this.take(16)
  }
}

/** One Huffman code: codes of one length are consecutive numbers. */
interface Code {
  /** By the next bits: the symbol of a short code times 16, plus its length; 0: the code is longer. */
  readonly short: Uint16Array
  /** By length: the largest code, or -1. */
  readonly largest: Int32Array
  /** By length: what is subtracted from a code to have its place in `symbols`. */
  readonly base: Int32Array
  readonly symbols: Uint16Array
}

/**
 * Decodes a stream.
 *
 * @param size bytes of the content; what follows the stream is ignored
 * @throws Error if the data is broken, or does not give exactly that
 */
export function decodeBzip2(data: Uint8Array, size: number): Uint8Array {
  const level = data[3]! - 0x30
  const isStream = data[0] === 0x42 && data[1] === 0x5a && data[2] === 0x68
  if (!isStream || !(level >= 1 && level <= 9)) throw new Error('The data does not begin as bzip2 data does')
  const bits = new Bits(data, 4)
  const out = new Uint8Array(size)
  // Before the transform, four bytes of one value take five.
  const work = new Uint32Array(Math.min(level * 100_000, Math.ceil(size * 1.25) + 1))
  let filled = 0
  let combined = 0
  for (;;) {
    const first = bits.take(24)
    const second = bits.take(24)
    const crc = bits.take32()
    if (first === END[0] && second === END[1]) {
      if (crc !== combined) throw new Error('The bzip2 data has another checksum')
      break
    }
    if (first !== BLOCK[0] || second !== BLOCK[1]) throw broken()
    const start = filled
    filled = decodeBlock(bits, work, out, start)
    if (crc32OfBzip2(out.subarray(start, filled)) !== crc)
      throw new Error('A block of the bzip2 data has another checksum')
    combined = (((combined << 1) | (combined >>> 31)) ^ crc) >>> 0
  }
  if (filled < size) throw new Error('The bzip2 data gives less than the chunk')
  return out
}

/** Decodes a block to `out` from `filled` on. @returns the end */
function decodeBlock(bits: Bits, work: Uint32Array, out: Uint8Array, filled: number): number {
  if (bits.take(1) === 1) throw new Error('The bzip2 data is of an old version, with random blocks')
  const origin = bits.take(24)
  const used = takeUsedBytes(bits)
  const codeCount = bits.take(3)
  if (codeCount < 2 || codeCount > 6) throw broken()
  const selectors = takeSelectors(bits, codeCount)
  const codes = Array.from({ length: codeCount }, () => takeCode(bits, used.length + 2))
  const count = takeBytes(bits, { used, selectors, codes }, work)
  if (origin >= count) throw broken()
  return undoTransform(work, count, origin, out, filled)
}

/** The values that bytes of the block have. */
function takeUsedBytes(bits: Bits): number[] {
  const rows = bits.take(16)
  const used: number[] = []
  for (let row = 0; row < 16; row++) {
    if (((rows >>> (15 - row)) & 1) === 0) continue
    const columns = bits.take(16)
    for (let column = 0; column < 16; column++)
      if (((columns >>> (15 - column)) & 1) === 1) used.push(row * 16 + column)
  }
  if (used.length === 0) throw broken()
  return used
}

/** Which code each group of symbols has: places in a list whose first is the last that was used. */
function takeSelectors(bits: Bits, codeCount: number): Uint8Array {
  const selectors = new Uint8Array(bits.take(15))
  if (selectors.length === 0) throw broken()
  const list = Array.from({ length: codeCount }, (_, i) => i)
  for (let i = 0; i < selectors.length; i++) {
    let place = 0
    while (bits.take(1) === 1) if (++place >= codeCount) throw broken()
    const [code] = list.splice(place, 1)
    list.unshift(code!)
    selectors[i] = code!
  }
  return selectors
}

function takeCode(bits: Bits, symbolCount: number): Code {
  const lengths = new Uint8Array(symbolCount)
  let length = bits.take(5)
  for (let symbol = 0; symbol < symbolCount; symbol++) {
    for (;;) {
      if (length < 1 || length > LONGEST) throw broken()
      if (bits.take(1) === 0) break
      length += bits.take(1) === 0 ? 1 : -1
    }
    lengths[symbol] = length
  }
  const largest = new Int32Array(LONGEST + 1).fill(-1)
  const base = new Int32Array(LONGEST + 1)
  const symbols = new Uint16Array(symbolCount)
  const short = new Uint16Array(1 << SHORT)
  let next = 0
  let place = 0
  for (let bitCount = 1; bitCount <= LONGEST; bitCount++, next *= 2) {
    const first = next
    base[bitCount] = first - place
    for (let symbol = 0; symbol < symbolCount; symbol++)
      if (lengths[symbol] === bitCount) {
        symbols[place++] = symbol
        next++
      }
    if (next > 2 ** bitCount) throw broken()
    if (next > first) largest[bitCount] = next - 1
    for (let code = first; code < next && bitCount <= SHORT; code++) {
      const start = code << (SHORT - bitCount)
      const entry = (symbols[code - base[bitCount]!]! << 4) | bitCount
      short.fill(entry, start, start + (1 << (SHORT - bitCount)))
    }
  }
  return { short, largest, base, symbols }
}

/** What the symbols of a block are decoded with. */
interface Tables {
  readonly used: readonly number[]
  readonly selectors: Uint8Array
  readonly codes: readonly Code[]
}

/** Decodes the bytes of a transformed block. @returns their number */
function takeBytes(bits: Bits, { used, selectors, codes }: Tables, work: Uint32Array): number {
  const list = Uint8Array.from(used)
  const end = used.length + 1
  let count = 0
  let group = 0
  let left = 0
  let code = codes[0]!
  let run = 0
  let digit = 1
  for (;;) {
    if (left === 0) {
      if (group >= selectors.length) throw broken()
      code = codes[selectors[group++]!]!
      left = GROUP
    }
    left--
    const symbol = takeSymbol(bits, code)
    if (symbol === RUN_A || symbol === RUN_B) {
      if (digit > work.length) throw broken()
      run += digit << symbol
      digit *= 2
      continue
    }
    if (run > 0) {
      if (run > work.length - count) throw broken()
      work.fill(list[0]!, count, count + run)
      count += run
      run = 0
      digit = 1
    }
    if (symbol === end) return count
    if (count === work.length) throw broken()
    const place = symbol - 1
    const byte = list[place]!
    list.copyWithin(1, 0, place)
    list[0] = byte
    work[count++] = byte
  }
}

function takeSymbol(bits: Bits, { short, largest, base, symbols }: Code): number {
  const next = bits.peek()
  const known = short[next >>> (LONGEST - SHORT)]!
  if (known !== 0) {
    bits.skip(known & 15)
    return known >>> 4
  }
  for (let length = SHORT + 1; length <= LONGEST; length++) {
    const code = next >>> (LONGEST - length)
    if (code > largest[length]!) continue
    const symbol = symbols[code - base[length]!]
    if (symbol === undefined) break
    bits.skip(length)
    return symbol
  }
  throw broken()
}

/** Four bytes of one value are followed by the number of further ones. */
const ALIKE = 4

/**
 * Undoes the Burrows-Wheeler transform, and then the run lengths that were there before it.
 *
 * @param work in its low bytes the transformed block; the upper ones are used
 * @returns the end of the block in `out`
 */
function undoTransform(
  work: Uint32Array,
  count: number,
  origin: number,
  out: Uint8Array,
  filled: number,
): number {
  const starts = new Uint32Array(256)
  for (let i = 0; i < count; i++) starts[work[i]! & 0xff]!++
  let sum = 0
  for (let byte = 0; byte < 256; byte++) {
    const bytes = starts[byte]!
    starts[byte] = sum
    sum += bytes
  }
  for (let i = 0; i < count; i++) work[starts[work[i]! & 0xff]!++]! |= i << 8
  let place = work[origin]! >>> 8
  let last = -1
  let alike = 0
  let at = filled
  for (let i = 0; i < count; i++) {
    const entry = work[place]!
    const byte = entry & 0xff
    place = entry >>> 8
    const times = alike === ALIKE ? byte : 1
    if (times > out.length - at) throw new Error('The bzip2 data gives more than the chunk')
    if (alike === ALIKE) {
      out.fill(last, at, at + times)
      alike = 0
      last = -1
    } else {
      out[at] = byte
      alike = byte === last ? alike + 1 : 1
      last = byte
    }
    at += times
  }
  return at
}
