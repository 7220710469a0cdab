/** The order of turns. */
import { expect, test } from 'vitest'
import { takeTurns } from './rounds.ts'

test('each program has one turn a round, every other round the other way round', async () => {
  const order: string[] = []
  const contestants = ['a', 'b', 'c'].map((side) => ({
    side,
    async run() {
      order.push(side)
      return { wall: order.length, cpu: 0 }
    },
  }))
  const done: number[] = []
  const samples = await takeTurns(contestants, 3, (round) => done.push(round))
  expect(order.join('')).toBe('abccbaabc')
  expect(samples['a']!.map(({ wall }) => wall)).toEqual([1, 6, 7])
  expect(done).toEqual([1, 2, 3])
})
