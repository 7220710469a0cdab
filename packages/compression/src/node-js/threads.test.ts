/** Threads do all blocks, say what is wrong with one without harm to the others, and end without leaving a caller waiting. */
import { describe, expect, it } from 'vitest'
import { NoThreads, Threads } from './threads.ts'

/** Works: fills with the first byte of the data; ends the thread. */
const makeWork = `async () => [
  (data, into) => {
    if (data[0] === 13) throw Object.assign(new Error('13 is unlucky'), { code: 'E_UNLUCKY' })
    into.fill(data[0])
    return data[0]
  },
  () => process.exit(1),
]`

const threads = (load: () => Promise<unknown> = async () => undefined): Threads =>
  new Threads({ name: 'test', makeWork, load })

const FILL = 0
const END = 1

describe('threads', () => {
  it('do all blocks, of any size, in several batches', async () => {
    const sizes = Array.from({ length: 60 }, (_, i) => [300, 65536, 2 ** 20, 2 ** 21][i % 4]!)
    const pool = threads()
    const results = await Promise.all(
      sizes.map(async (size, i) => {
        const into = new Uint8Array(size)
        const data = Uint8Array.of(i + 14)
        return { bytes: await pool.run(FILL, data, into), into }
      }),
    )
    for (const [i, { bytes, into }] of results.entries()) {
      expect(bytes).toBe(i + 14)
      // Only the bytes of the result come back.
      expect(into.subarray(0, bytes).every((byte) => byte === i + 14)).toBe(true)
      expect(into.subarray(bytes).every((byte) => byte === 0)).toBe(true)
    }
  })

  it('say what is wrong with one block, and do the others', async () => {
    const pool = threads()
    const results = await Promise.allSettled(
      [12, 13, 14].map((byte) => pool.run(FILL, Uint8Array.of(byte), new Uint8Array(20))),
    )
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(results[1]).toMatchObject({ reason: { message: '13 is unlucky', code: 'E_UNLUCKY' } })
  })

  it('that end fail what they had, and others begin', async () => {
    const pool = threads()
    await expect(pool.run(END, Uint8Array.of(1), new Uint8Array(1))).rejects.toThrow('has ended')
    expect(await pool.run(FILL, Uint8Array.of(7), new Uint8Array(9))).toBe(7)
  })

  it('are not there if what they need is not', async () => {
    const pool = threads(() => Promise.reject(new Error('forbidden')))
    await expect(pool.run(FILL, Uint8Array.of(1), new Uint8Array(1))).rejects.toBeInstanceOf(NoThreads)
  })
})
