/**
 * Decodes LZMA2 into a buffer of the size of the content, which is its dictionary. Source: the format description of
 * xz, and the public domain specification of LZMA by its author. Libraries for it loop without end on data that is cut
 * off, or need Node.js.
 */

const broken = (): Error => new Error('The LZMA data is broken')
const tooShort = (): Error => new Error('The LZMA data is too short')
const tooLong = (): Error => new Error('The LZMA data gives more than the chunk')

/** Bits of a probability: half of 2^11 is even odds. */
const EVEN = 1 << 10
const PROBABILITY_BITS = 11
const MOVE = 5
/** A range below this is made larger. */
const SMALLEST_RANGE = 2 ** 24

const STATES = 12
/** States below this follow a literal. */
const LITERAL_STATES = 7
const MOST_POSITIONS = 16
const LENGTH_STATES = 4
/** Slots of distances from here on end in bits of even odds. */
const DIRECT_SLOT = 14
const ALIGN_BITS = 4

/** Probabilities of the lengths of matches. */
class Lengths {
  readonly choice = new Uint16Array(2)
  readonly low = new Uint16Array(MOST_POSITIONS << 3)
  readonly middle = new Uint16Array(MOST_POSITIONS << 3)
  readonly high = new Uint16Array(256)

  reset(): void {
    for (const table of [this.choice, this.low, this.middle, this.high]) table.fill(EVEN)
  }
}

/** Decodes the chunks of LZMA2, one after the other. */
class Lzma2 {
  readonly #data: Uint8Array
  readonly #out: Uint8Array
  #at: number
  #filled: number
  /** Where the dictionary begins: no match reaches back beyond it. */
  #dictionary: number

  // The state of LZMA.
  #range = 0
  #code = 0
  #state = 0
  /** The last four distances, less one. */
  readonly #distances = new Uint32Array(4)
  #literalContext = 0
  #literalPosition = 0
  #positionMask = 0
  readonly #isMatch = new Uint16Array(STATES * MOST_POSITIONS)
  readonly #isRepeat = new Uint16Array(STATES)
  readonly #isRepeat0 = new Uint16Array(STATES)
  readonly #isRepeat1 = new Uint16Array(STATES)
  readonly #isRepeat2 = new Uint16Array(STATES)
  readonly #isLong = new Uint16Array(STATES * MOST_POSITIONS)
  readonly #slots = new Uint16Array(LENGTH_STATES << 6)
  readonly #special = new Uint16Array(128)
  readonly #align = new Uint16Array(1 << ALIGN_BITS)
  readonly #matchLengths = new Lengths()
  readonly #repeatLengths = new Lengths()
  /** At most 4 bits of context are there in LZMA2. */
  readonly #literals = new Uint16Array(0x300 << 4)

  constructor(data: Uint8Array, at: number, out: Uint8Array, filled: number) {
    this.#data = data
    this.#at = at
    this.#out = out
    this.#filled = filled
    this.#dictionary = filled
  }

  run(): { readonly at: number; readonly filled: number } {
    let needsDictionary = true
    let needsProperties = true
    let needsState = true
    for (;;) {
      const control = this.#byte()
      if (control === 0) return { at: this.#at, filled: this.#filled }
      if (control === 1 || control >= 0xe0) {
        this.#dictionary = this.#filled
        needsDictionary = false
        if (control === 1) needsState = true
      } else if (needsDictionary) throw broken()
      if (control < 0x80) {
        if (control > 2) throw broken()
        this.#copy((this.#byte() << 8) + this.#byte() + 1)
        continue
      }
      const bytes = ((control & 0x1f) << 16) + (this.#byte() << 8) + this.#byte() + 1
      const packed = (this.#byte() << 8) + this.#byte() + 1
      if (control >= 0xc0) {
        this.#setProperties(this.#byte())
        needsProperties = false
      } else if (needsProperties) throw broken()
      if (control >= 0xa0) {
        this.#reset()
        needsState = false
      } else if (needsState) throw broken()
      this.#decodeChunk(bytes, this.#at + packed)
    }
  }

  #byte(): number {
    if (this.#at >= this.#data.length) throw tooShort()
    return this.#data[this.#at++]!
  }

  /** A chunk that is not compressed. */
  #copy(bytes: number): void {
    const piece = this.#data.subarray(this.#at, this.#at + bytes)
    if (piece.length < bytes) throw tooShort()
    if (bytes > this.#out.length - this.#filled) throw tooLong()
    this.#out.set(piece, this.#filled)
    this.#at += bytes
    this.#filled += bytes
  }

  #setProperties(value: number): void {
    const context = value % 9
    const position = Math.floor(value / 9) % 5
    const mask = Math.floor(value / 45)
    if (mask > 4 || context + position > 4) throw broken()
    this.#literalContext = context
    this.#literalPosition = position
    this.#positionMask = (1 << mask) - 1
  }

  #reset(): void {
    this.#state = 0
    this.#distances.fill(0)
    for (const table of [
      this.#isMatch,
      this.#isRepeat,
      this.#isRepeat0,
      this.#isRepeat1,
      this.#isRepeat2,
      this.#isLong,
      this.#slots,
      this.#special,
      this.#align,
      this.#literals,
    ])
      table.fill(EVEN)
    this.#matchLengths.reset()
    this.#repeatLengths.reset()
  }

  #decodeChunk(bytes: number, end: number): void {
    if (end > this.#data.length) throw tooShort()
    if (bytes > this.#out.length - this.#filled) throw tooLong()
    this.#range = 0xffffffff
    if (this.#byte() !== 0) throw broken()
    this.#code = 0
    for (let i = 0; i < 4; i++) this.#code = ((this.#code << 8) | this.#byte()) >>> 0
    const last = this.#filled + bytes
    while (this.#filled < last) {
      const position = (this.#filled - this.#dictionary) & this.#positionMask
      const context = (this.#state << 4) + position
      if (this.#bit(this.#isMatch, context) === 0) this.#literal()
      else this.#match(position, context, last)
      if (this.#at > end) throw broken()
    }
    this.#normalize()
    if (this.#at !== end || this.#code !== 0) throw broken()
  }

  #normalize(): void {
    if (this.#range >= SMALLEST_RANGE) return
    this.#range = (this.#range << 8) >>> 0
    this.#code = ((this.#code << 8) | this.#byte()) >>> 0
  }

  #bit(table: Uint16Array, index: number): number {
    this.#normalize()
    const odds = table[index]!
    const bound = (this.#range >>> PROBABILITY_BITS) * odds
    if (this.#code < bound) {
      this.#range = bound
      table[index] = odds + (((1 << PROBABILITY_BITS) - odds) >>> MOVE)
      return 0
    }
    this.#range -= bound
    this.#code -= bound
    table[index] = odds - (odds >>> MOVE)
    return 1
  }

  /** Bits of a tree of probabilities, the highest first. */
  #tree(table: Uint16Array, base: number, bits: number): number {
    let node = 1
    for (let i = 0; i < bits; i++) node = (node << 1) | this.#bit(table, base + node)
    return node - (1 << bits)
  }

  /** The same, the lowest first. */
  #reverseTree(table: Uint16Array, base: number, bits: number): number {
    let node = 1
    let value = 0
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(table, base + node)
      node = (node << 1) | bit
      value |= bit << i
    }
    return value
  }

  /** Bits of even odds. */
  #direct(bits: number): number {
    let value = 0
    for (let i = 0; i < bits; i++) {
      this.#normalize()
      this.#range >>>= 1
      const bit = this.#code >= this.#range ? 1 : 0
      if (bit === 1) this.#code -= this.#range
      value = value * 2 + bit
    }
    return value
  }

  #literal(): void {
    const out = this.#out
    const at = this.#filled - this.#dictionary
    const before = at > 0 ? out[this.#filled - 1]! : 0
    const low = (at & ((1 << this.#literalPosition) - 1)) << this.#literalContext
    const base = 0x300 * (low + (before >>> (8 - this.#literalContext)))
    let symbol = 1
    if (this.#state >= LITERAL_STATES) {
      let match = out[this.#filled - this.#distances[0]! - 1]!
      while (symbol < 0x100) {
        const bit = (match >>> 7) & 1
        match <<= 1
        const taken = this.#bit(this.#literals, base + ((1 + bit) << 8) + symbol)
        symbol = (symbol << 1) | taken
        if (bit !== taken) break
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(this.#literals, base + symbol)
    out[this.#filled++] = symbol & 0xff
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6
  }

  /** A match, new or repeated. */
  #match(position: number, context: number, last: number): void {
    const distances = this.#distances
    const state = this.#state
    const followsLiteral = state < LITERAL_STATES
    let bytes: number
    if (this.#bit(this.#isRepeat, state) === 0) {
      distances.copyWithin(1, 0, 3)
      bytes = this.#length(this.#matchLengths, position)
      this.#state = followsLiteral ? 7 : 10
      distances[0] = this.#distance(bytes)
    } else {
      if (this.#bit(this.#isRepeat0, state) === 0) {
        if (this.#bit(this.#isLong, context) === 0) {
          this.#state = followsLiteral ? 9 : 11
          this.#repeat(1, last)
          return
        }
      } else this.#chooseDistance(state)
      bytes = this.#length(this.#repeatLengths, position)
      this.#state = followsLiteral ? 8 : 11
    }
    this.#repeat(bytes, last)
  }

  /** Brings one of the distances before the last to the front. */
  #chooseDistance(state: number): void {
    const distances = this.#distances
    let which = 1
    if (this.#bit(this.#isRepeat1, state) === 1) which = this.#bit(this.#isRepeat2, state) === 0 ? 2 : 3
    const distance = distances[which]!
    distances.copyWithin(1, 0, which)
    distances[0] = distance
  }

  #length(lengths: Lengths, position: number): number {
    if (this.#bit(lengths.choice, 0) === 0) return 2 + this.#tree(lengths.low, position << 3, 3)
    if (this.#bit(lengths.choice, 1) === 0) return 10 + this.#tree(lengths.middle, position << 3, 3)
    return 18 + this.#tree(lengths.high, 0, 8)
  }

  /** A new distance, less one. */
  #distance(bytes: number): number {
    const slot = this.#tree(this.#slots, Math.min(bytes - 2, LENGTH_STATES - 1) << 6, 6)
    if (slot < 4) return slot
    const bits = (slot >>> 1) - 1
    const base = (2 | (slot & 1)) * 2 ** bits
    if (slot < DIRECT_SLOT) return base + this.#reverseTree(this.#special, base - slot, bits)
    const direct = this.#direct(bits - ALIGN_BITS) * 2 ** ALIGN_BITS
    return base + direct + this.#reverseTree(this.#align, 0, ALIGN_BITS)
  }

  #repeat(bytes: number, last: number): void {
    const out = this.#out
    const distance = this.#distances[0]! + 1
    const at = this.#filled
    if (distance > at - this.#dictionary) throw broken()
    if (bytes > last - at) throw broken()
    for (let i = at; i < at + bytes; i++) out[i] = out[i - distance]!
    this.#filled = at + bytes
  }
}

/**
 * Decodes LZMA2 data that begins at `at`, to `out` from `filled` on.
 *
 * @returns where the data and the content end
 * @throws Error if it is broken, or does not fit
 */
export const decodeLzma2 = (
  data: Uint8Array,
  at: number,
  out: Uint8Array,
  filled: number,
): { readonly at: number; readonly filled: number } => new Lzma2(data, at, out, filled).run()
