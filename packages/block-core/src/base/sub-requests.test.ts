import { describe, expect, test } from 'vitest'
import { inParts, SubRequests } from './sub-requests.ts'

/** Pieces that end when the test says so. */
class Pieces {
  readonly started: number[] = []
  readonly #ends = new Map<number, { resolve(): void; reject(error: Error): void }>()

  piece(number: number): () => Promise<void> {
    return () => {
      this.started.push(number)
      return new Promise((resolve, reject) => this.#ends.set(number, { resolve, reject }))
    }
  }
  end(number: number, error?: Error): void {
    const { resolve, reject } = this.#ends.get(number)!
    if (error) reject(error)
    else resolve()
  }
}

/** Waits until nothing more can happen. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve))

const addAll = async (parts: SubRequests, pieces: Pieces, count: number): Promise<void> => {
  for (let number = 0; number < count && !parts.failed; number++) await parts.add(pieces.piece(number))
}

describe('pieces of a request', () => {
  test('run at once up to a number; the next starts when any has ended', async () => {
    const [parts, pieces] = [new SubRequests(3), new Pieces()]
    const over = parts.run(() => addAll(parts, pieces, 5))
    await nextTurn()
    expect(pieces.started).toEqual([0, 1, 2])
    pieces.end(1)
    await nextTurn()
    expect(pieces.started).toEqual([0, 1, 2, 3])
    for (const number of [0, 2, 3]) pieces.end(number)
    await nextTurn()
    pieces.end(4)
    await over
  })

  test('are all over before the request is, whatever fails; none is started any more', async () => {
    const [parts, pieces] = [new SubRequests(2), new Pieces()]
    let isOver = false
    const over = parts.run(() => addAll(parts, pieces, 5)).finally(() => (isOver = true))
    await nextTurn()
    pieces.end(0, new Error('first'))
    await nextTurn()
    expect([pieces.started, parts.failed, isOver]).toEqual([[0, 1], true, false])
    pieces.end(1, new Error('second'))
    await expect(over).rejects.toThrow('first')
  })

  test('are over, too, when planning fails, and its error is what is thrown', async () => {
    const [parts, pieces] = [new SubRequests(), new Pieces()]
    let isOver = false
    const over = parts
      .run(async () => {
        await parts.add(pieces.piece(0))
        throw new Error('no plan')
      })
      .finally(() => (isOver = true))
    await nextTurn()
    expect(isOver).toBe(false)
    pieces.end(0)
    await expect(over).rejects.toThrow('no plan')
  })

  test('cover a request from its start to its end', async () => {
    const seen: number[] = []
    await inParts(10, async (done, parts) => {
      await parts.add(async () => void seen.push(done))
      return Math.min(4, 10 - done)
    })
    expect(seen).toEqual([0, 4, 8])
  })
})
