import { describe, expect, it } from 'vitest'
import { createRandom } from '../testing/random.ts'
import { IndexSet } from './index-set.ts'

describe('a set of indexes', () => {
  it('finds the next one as a look at all of them does', () => {
    const random = createRandom(11)
    const set = new IndexSet()
    const model = new Set<number>()
    const randomIndex = (): number => random.int(0, 200) * 2 ** random.int(0, 30)
    for (let step = 0; step < 4000; step++) {
      const index = randomIndex()
      if (model.delete(index)) set.delete(index)
      else {
        model.add(index)
        set.add(index)
      }
      const from = randomIndex()
      const to = from + random.int(0, 100) * 2 ** random.int(0, 30)
      const expected = Math.min(to, ...[...model].filter((other) => other >= from))
      expect(set.next(from, to), `step ${step}: [${from}, ${to})`).toBe(Math.max(from, expected))
    }
  })

  it('looks at as little for many as for few', () => {
    const cost = (count: number, distance: number): number => {
      const set = new IndexSet()
      for (let i = 1; i <= count; i++) set.add(i * distance)
      let found = 0
      for (let at = set.next(0, 2 ** 45); at < 2 ** 45; at = set.next(at + 1, 2 ** 45)) found++
      expect(found).toBe(count)
      return set.looks / count
    }
    for (const distance of [1, 2, 1000, 2 ** 20, 2 ** 30]) expect(cost(4096, distance)).toBeLessThan(700)
    expect(cost(100_000, 2)).toBeLessThan(10)
  })
})
