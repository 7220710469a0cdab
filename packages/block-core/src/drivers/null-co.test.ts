import { describe, expect, it, vi } from 'vitest'
import { openTestNode } from '../testing/nodes.ts'
import { nullCo } from './null-co.ts'

describe('null-co', () => {
  it('is 1 GiB large unless told otherwise', async () => {
    expect((await openTestNode(nullCo)).size).toBe(2 ** 30)
    expect((await openTestNode(nullCo, { options: { size: '3T' } })).size).toBe(3 * 2 ** 40)
  })

  it('leaves buffers alone, or fills them with zeroes with read-zeroes', async () => {
    const buffer = Uint8Array.of(1, 2, 3)
    const node = await openTestNode(nullCo)
    await node.write(0, buffer)
    await node.read(0, buffer)
    expect(buffer).toEqual(Uint8Array.of(1, 2, 3))
    const zeroes = await openTestNode(nullCo, { options: { 'read-zeroes': 'on' } })
    await zeroes.read(0, buffer)
    expect(buffer).toEqual(new Uint8Array(3))
    expect(await zeroes.blockStatus(5, 2 ** 40)).toMatchObject({ bytes: 2 ** 30 - 5, zero: true })
    expect(await node.blockStatus(0, 10)).toEqual({ bytes: 10, allocated: false, data: false, zero: false })
  })

  it('waits for latency-ns', async () => {
    vi.useFakeTimers()
    try {
      const node = await openTestNode(nullCo, { options: { latencyNs: 5_000_000 } })
      const done = vi.fn()
      const read = node.read(0, new Uint8Array(1)).then(done)
      await vi.advanceTimersByTimeAsync(4)
      expect(done).not.toHaveBeenCalled()
      await vi.advanceTimersByTimeAsync(1)
      await read
    } finally {
      vi.useRealTimers()
    }
  })

  it('refuses requests outside, negative latencies, and sizes that are none', async () => {
    const node = await openTestNode(nullCo, { options: { size: 10 } })
    await expect(node.write(5, new Uint8Array(6))).rejects.toMatchObject({ code: 'EIO' })
    await expect(openTestNode(nullCo, { options: { latencyNs: -1 } })).rejects.toThrow("'latencyNs'")
    await expect(openTestNode(nullCo, { options: { size: 'big' } })).rejects.toThrow("'size'")
  })

  it('has one file name', () => {
    expect(nullCo.parseFilename?.('null-co://')).toEqual({ driver: 'null-co' })
    expect(nullCo.nameFromOptions?.({ latencyNs: '1' }, undefined)).toBe('null-co://')
    expect(nullCo.nameFromOptions?.({ size: 1 }, undefined)).toBeUndefined()
    expect(() => nullCo.parseFilename?.('null-co://x')).toThrow(
      "The only allowed filename for this driver is 'null-co://'",
    )
  })
})
