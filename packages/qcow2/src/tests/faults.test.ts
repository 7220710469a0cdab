/**
 * Errors at every step announced by the driver: whatever fails, refcounts are never too low afterwards, the
 * data of successful requests is kept, and the next write works.
 */
import { type BlockNode, type OpenEnvironment, openNode, type RawOptions } from '@vmblock/block-core'
import { DEBUG_EVENTS, type DebugEvent } from '@vmblock/block-core/driver'
import { faultsAt, runWithFault } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { ENCRYPTED_STEPS } from '../testing/encrypted-scenarios.ts'
import { STEPS } from '../testing/fault-scenarios.ts'
import { createImage, environment, filled, findings, open, SAFE } from '../testing/images.ts'

/** The reason why the driver does not announce a step. */
const NOT_HERE: Partial<Readonly<Record<DebugEvent, string>>> = {
  cluster_alloc_space: 'new clusters are not zeroed before they are written',
  refblock_update: 'parts of blocks are written, and announced as parts',
  cor_write: 'belongs to the copy-on-read filter',
  none: 'is no step',
}

describe.each(['eager', 'lazy'])('an error in an image with %s refcounts', (refcounts) => {
  describe.each([...STEPS, ...ENCRYPTED_STEPS])('$name', ({ scenario, events }) => {
    test.each(events)('at %s', async (event) => {
      const steps = scenario(refcounts === 'lazy')
      for (const fault of faultsAt(event)) {
        const what = `${fault.errno}, ${fault.lasts}`
        const met = await runWithFault(steps, fault).catch((error: unknown) => {
          throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
        })
        expect(met, `${what}: reached`).toBe(true)
      }
    })
  })
})

test('every step is tried, or there is a reason', () => {
  const tried = new Set(STEPS.flatMap(({ events }) => events))
  expect(DEBUG_EVENTS.filter((event) => !tried.has(event))).toEqual(
    DEBUG_EVENTS.filter((event) => NOT_HERE[event] !== undefined),
  )
})

async function faulty(file: BlockNode, below: BlockNode, rule: RawOptions): Promise<BlockNode> {
  return openNode(environment as OpenEnvironment, {
    driver: 'qcow2',
    discard: 'unmap',
    backing: below,
    l2CacheEntrySize: 512,
    l2CacheSize: 2048,
    refcountCacheSize: 2048,
    file: { driver: 'blkdebug', image: file, injectError: [{ immediately: true, ...rule }] },
  })
}

describe('closing', () => {
  const closing = async (once: boolean): Promise<void> => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await faulty(file, await open(await createImage({ size: 0 })), {
      event: 'flush_to_disk',
      once,
    })
    await node.write(0, filled(1, 512))
    await node.close()
  }

  test('says for each cache that it could not be flushed', async () => {
    await expect(closing(false)).rejects.toMatchObject({
      code: 'EIO',
      message:
        'Failed to flush the L2 table cache: Input/output error\n' +
        'Failed to flush the refcount block cache: Input/output error',
    })
  })

  test('tries again, cache by cache', async () => {
    await expect(closing(true)).resolves.toBeUndefined()
  })
})

describe('a request that fails', () => {
  test('gives its clusters back', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await faulty(file, await open(await createImage({ size: 0 })), {
      event: 'write_aio',
      once: true,
    })
    await expect(node.write(0, filled(1, 65536))).rejects.toMatchObject({ code: 'EIO' })
    await node.write(65536, filled(2, 65536))
    await node.close()
    expect(await findings(file)).toMatchObject({ ...SAFE, leaks: 0, imageEndOffset: 6 * 65536 })
  })

  test('for want of a refcount block leaves the clusters it found to the next', async () => {
    /** The end of the file after the same writes, some of which fail. */
    const endAfter = async (rule: {
      readonly event?: string
      readonly errno?: number
    }): Promise<{ end: number; failed: number }> => {
      const file = await createImage({ size: 2 ** 20, cluster_size: 512, refcount_bits: 64 })
      const node = await faulty(file, await open(await createImage({ size: 0 })), rule)
      let failed = 0
      for (let at = 0; at < 2 ** 16; at += 512) await node.write(at, filled(1, 512)).catch(() => failed++)
      await node.close()
      const { imageEndOffset, ...rest } = await findings(file)
      expect(rest).toMatchObject({ ...SAFE, leaks: 0 })
      return { end: imageEndOffset!, failed }
    }
    const { end } = await endAfter({ event: 'cor_write' })
    const event = { event: 'refblock_alloc_write', once: true, errno: 28 }
    expect(await endAfter(event)).toEqual({ end: end - 512, failed: 1 })
  })
})
