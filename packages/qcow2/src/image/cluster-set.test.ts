import { createRandom } from '@vmblock/block-core/testing'
import { expect, it } from 'vitest'
import { ClusterSet } from './cluster-set.ts'

it('answers as a Set does, whatever came and went', () => {
  const random = createRandom(1)
  const numbers = Array.from({ length: 300 }, () => random.int(0, 1000) * random.pick([1, 2 ** 40]))
  const set = new ClusterSet(Float64Array.from(numbers))
  const model = new Set(numbers)
  for (let step = 0; step < 5000; step++) {
    const cluster = random.chance(0.5) ? random.pick(numbers) : random.int(0, 1000)
    if (random.chance(0.2)) {
      set.add(cluster)
      model.add(cluster)
    } else if (random.chance(0.3)) {
      set.delete(cluster)
      model.delete(cluster)
    }
    const first = Math.max(0, cluster - random.int(0, 4))
    const last = cluster + random.pick([0, 3, 500])
    const expected = [...model].some((one) => one >= first && one <= last)
    expect([step, set.hasAny(first, last)]).toEqual([step, expected])
  }
})
