/** The images for the growth of costs are as described. */
import { expect, test } from 'vitest'
import { writeOrder } from './dimensions.ts'

test.each([0, 0.25, 0.5, 1])('with a share of %d moved, every cluster still comes once', (share) => {
  const order = writeOrder(4096, share)
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 4096 }, (_, i) => i))
  const moved = order.filter((cluster, index) => cluster !== index).length
  expect(moved / 4096).toBeGreaterThan(share - 0.05)
  expect(moved / 4096).toBeLessThan(share + 0.05)
})
