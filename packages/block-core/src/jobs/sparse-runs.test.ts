import { describe, expect, it } from 'vitest'
import { isZero, SECTOR } from '../base/bits.ts'
import { createRandom } from '../testing/random.ts'
import { SparseRuns, type SparseRunsOptions } from './sparse-runs.ts'

/** Sectors of data (`x`) and of zeroes (`.`); the data is in the last byte of a sector. */
const bytesOf = (text: string): Uint8Array => {
  const bytes = new Uint8Array(text.length * SECTOR)
  for (let i = 0; i < text.length; i++) bytes[(i + 1) * SECTOR - 1] = text[i] === 'x' ? 1 : 0
  return bytes
}

/** The runs of a buffer that begins at a sector, in sectors: `3x` is data, `2.` is left out. */
function runsOf(bytes: Uint8Array, options: SparseRunsOptions, first = 0): string {
  const runs = new SparseRuns(options)
  const said: string[] = []
  for (let at = 0; at < bytes.length; ) {
    const run = runs.first(bytes.subarray(at), first * SECTOR + at)
    said.push(`${run.bytes / SECTOR}${run.zero ? '.' : 'x'}`)
    at += run.bytes
  }
  return said.join(' ')
}

const sectors = (minimum: number, alignment = minimum): SparseRunsOptions => ({
  minimum: minimum * SECTOR,
  alignment: alignment * SECTOR,
})

describe('runs of zeroes', () => {
  it('looks at each byte a few times, wherever zeroes end', () => {
    let looked = 0
    const count = (bytes: Uint8Array): boolean => {
      // Counts up to the first nonzero byte, where a test for zeroes stops.
      const end = bytes.findIndex((byte) => byte !== 0)
      looked += end < 0 ? bytes.length : end + 1
      return end < 0
    }
    for (const zeroes of [1, 8, 100, 127, 129, 500]) {
      const data = bytesOf(`${'.'.repeat(zeroes)}x`.repeat(4))
      looked = 0
      runsOf(data, { ...sectors(8, 1), isZero: count })
      expect(looked).toBeLessThanOrEqual(5 * data.length)
    }
  })

  it.each([
    ['xxxx', sectors(1), 0, '4x'],
    ['....', sectors(1), 0, '4.'],
    ['x..x', sectors(1), 0, '1x 2. 1x'],
    ['x..x....x', sectors(4, 1), 0, '4x 4. 1x'],
    // Zeroes at the end of a buffer stay zeroes: the run may continue in the next buffer.
    ['x..', sectors(4, 1), 0, '1x 2.'],
    // Blocks of four that are only partly zero are data.
    ['x.......x', sectors(4), 0, '4x 4. 1x'],
    ['...x....', sectors(4), 0, '4x 4.'],
    ['......x.', sectors(4), 0, '4. 4x'],
    ['.....x', sectors(4), 2, '2. 4x'],
    ['.x', sectors(4), 3, '1. 1x'],
    ['xx......', sectors(4), 1, '3x 5.'],
    // For a buffer shorter than the minimum, its own length is the minimum.
    ['x.', sectors(128, 1), 0, '1x 1.'],
  ] as const)('%s', (text, options, first, runs) => {
    expect(runsOf(bytesOf(text), options, first)).toBe(runs)
  })

  it('takes a last sector that is short', () => {
    const bytes = new Uint8Array(SECTOR + 3)
    const runs = new SparseRuns(sectors(1))
    expect(runs.first(bytes, 0)).toEqual({ bytes: SECTOR + 3, zero: true })
    bytes[SECTOR + 2] = 1
    expect(runs.first(bytes, 0)).toEqual({ bytes: SECTOR, zero: true })
    expect(runs.first(bytes.subarray(SECTOR), SECTOR)).toEqual({ bytes: 3, zero: false })
  })

  it('works beyond 2^32 bytes', () => {
    const far = 2 ** 45 / SECTOR + 2
    expect(runsOf(bytesOf('.....x'), sectors(4), far)).toBe('2. 4x')
  })

  it('never leaves out what is not zero, and asks a quicker test for long stretches', () => {
    const random = createRandom(7)
    let asked = 0
    let longest = 0
    const test = (bytes: Uint8Array): boolean => {
      asked++
      longest = Math.max(longest, bytes.length)
      return isZero(bytes)
    }
    for (let round = 0; round < 200; round++) {
      let text = ''
      while (text.length < 600) text += (random.chance(0.5) ? 'x' : '.').repeat(random.int(1, 300))
      const alignment = 2 ** random.int(0, 9)
      const options = { ...sectors(alignment * random.int(1, 4), alignment), isZero: test }
      const first = random.int(0, 100)
      const bytes = bytesOf(text)
      let at = 0
      for (const word of runsOf(bytes, options, first).split(' ')) {
        const length = Number.parseInt(word, 10)
        const run = text.slice(at, at + length)
        at += length
        if (word.endsWith('.')) expect(run).not.toContain('x')
        // Runs of both kinds end where blocks end.
        if (at < text.length) expect((first + at) % alignment).toBe(0)
      }
      expect(at).toBe(text.length)
    }
    expect(asked).toBeGreaterThan(100)
    expect(longest).toBeGreaterThanOrEqual(64 * 1024)
  })
})
