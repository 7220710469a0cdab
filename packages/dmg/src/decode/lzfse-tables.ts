/**
 * The entropy coding of LZFSE: tables of states that are made of the frequencies of symbols, and bits that are read from
 * the end of a stream backwards. Source: the published description and reference code of LZFSE (BSD licence), whose
 * numbers these are.
 */

/** The error for data that contradicts itself. */
export const broken = (): Error => new Error('The LZFSE data is broken')
/** The error for data that ends before the chunk does. */
export const tooShort = (): Error => new Error('The LZFSE data is too short')
/** The error for data that goes on behind the chunk. */
export const tooLong = (): Error => new Error('The LZFSE data gives more than the chunk')

/** Up to 25 bits from a bit offset, the lowest of each byte first. Behind the end of the data are zeroes. */
export function bitsAt(data: Uint8Array, bit: number, count: number): number {
  const at = Math.floor(bit / 8)
  const word =
    (data[at] ?? 0) | ((data[at + 1] ?? 0) << 8) | ((data[at + 2] ?? 0) << 16) | ((data[at + 3] ?? 0) << 24)
  return (word >>> (bit & 7)) & (2 ** count - 1)
}

/** Reads the bits of a stream from its end backwards: each number is above those that were read later. */
export class BackwardBits {
  readonly #data: Uint8Array
  readonly #start: number
  #bit: number

  /**
   * @param start offset of the stream, in bytes
   * @param end offset of its end, in bytes
   * @param unused bits at its end that are not part of it, 0 to 7
   */
  constructor(data: Uint8Array, start: number, end: number, unused: number) {
    this.#data = data
    this.#start = start * 8
    this.#bit = end * 8 - unused
  }

  /** @param count 0 to 25 @throws Error at the beginning of the stream */
  take(count: number): number {
    if (count === 0) return 0
    this.#bit -= count
    if (this.#bit < this.#start) throw tooShort()
    return bitsAt(this.#data, this.#bit, count)
  }
}

/** What each state means: a value, and which states may follow. */
export interface StateTable {
  /** Bits of a state's successor, and of the value. */
  readonly bits: Uint8Array
  /** How many of those belong to the value. */
  readonly extra: Uint8Array
  readonly next: Int16Array
  readonly value: Int32Array
}

/** A state that no symbol has. */
const UNUSED = 0xff

/**
 * Makes the table of a stream.
 *
 * @param states how many there are: a power of two
 * @param frequencies how many of them each symbol has
 * @param values the value of each symbol, and how many bits are added to it
 * @throws Error if there are fewer states than the symbols have
 */
export function stateTable(
  states: number,
  frequencies: Uint16Array,
  values?: { readonly base: readonly number[]; readonly extra: readonly number[] },
): StateTable {
  const table = {
    bits: new Uint8Array(states).fill(UNUSED),
    extra: new Uint8Array(states),
    next: new Int16Array(states),
    value: new Int32Array(states),
  }
  let state = 0
  for (const [symbol, frequency] of frequencies.entries()) {
    if (frequency === 0) continue
    if (state + frequency > states) throw broken()
    const shift = Math.clz32(frequency) - Math.clz32(states)
    const wide = ((2 * states) >> shift) - frequency
    for (let i = 0; i < frequency; i++, state++) {
      const isWide = i < wide
      const extra = values?.extra[symbol] ?? 0
      table.extra[state] = extra
      table.bits[state] = extra + (isWide ? shift : shift - 1)
      table.next[state] = isWide ? ((frequency + i) << shift) - states : (i - wide) << (shift - 1)
      table.value[state] = values?.base[symbol] ?? symbol
    }
  }
  return table
}

/** Reads the values of one kind. */
export class Values {
  readonly #table: StateTable
  #state: number

  /** @throws Error if there is no such state */
  constructor(table: StateTable, state: number) {
    if (state >= table.bits.length) throw broken()
    this.#table = table
    this.#state = state
  }

  take(stream: BackwardBits): number {
    const { bits, extra, next, value } = this.#table
    const state = this.#state
    const count = bits[state]!
    if (count === UNUSED) throw broken()
    const taken = stream.take(count)
    const more = extra[state]!
    this.#state = next[state]! + (taken >>> more)
    return value[state]! + (taken & ((1 << more) - 1))
  }
}

/**
 * Reads one frequency: small ones have short codes.
 *
 * @returns the frequency, and the bits that it took
 */
export function frequencyAt(data: Uint8Array, bit: number): readonly [frequency: number, bits: number] {
  const code = bitsAt(data, bit, 14)
  if ((code & 1) === 0) return [(code >>> 1) & 1, 2]
  if ((code & 2) === 0) return [2 + ((code >>> 2) & 1), 3]
  if ((code & 4) === 0) return [4 + ((code >>> 3) & 3), 5]
  if ((code & 8) === 0) return [8 + ((code >>> 4) & 0xf), 8]
  return [24 + (code >>> 4), 14]
}

/** A count of values that follow each other at distances of powers of two, from `from` on, `each` for each power. */
const doubling = (from: number, each: number, symbols: number) => {
  const base: number[] = []
  const extra: number[] = []
  let value = from
  for (let symbol = 0; symbol < symbols; symbol++) {
    const bits = Math.floor(symbol / each)
    base.push(value)
    extra.push(bits)
    value += 2 ** bits
  }
  return { base, extra }
}

const SMALL = Array.from({ length: 16 }, (_, value) => value)
const NO_BITS = SMALL.map(() => 0)

/** Lengths of literals. */
export const LITERAL_LENGTHS = { base: [...SMALL, 16, 20, 28, 60], extra: [...NO_BITS, 2, 3, 5, 8] }
/** Lengths of matches. */
export const MATCH_LENGTHS = { base: [...SMALL, 16, 24, 56, 312], extra: [...NO_BITS, 3, 5, 8, 11] }
/** Distances: four symbols for each number of bits. */
export const DISTANCES = doubling(0, 4, 64)
