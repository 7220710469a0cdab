/**
 * What an allocating write costs, counted exactly: the promise of lazy refcounts (lazy-refcounts.md section 1),
 * and of metadata written in small pieces.
 */
import { expect, test } from 'vitest'
import { createImage, filled, openLogged } from './testing/images.ts'

const WRITES = 128
const CLUSTER = 65536

async function countAllocatingWrites(lazy: boolean) {
  const file = await createImage({ size: 2 ** 30, lazy_refcounts: lazy ? 'on' : 'off' })
  const { node, log } = await openLogged(file, { cache: { writeback: false } })
  for (let i = 0; i < WRITES; i++) await node.write(i * CLUSTER, filled(0x5a, 4096))
  const { writes, bytes, flushes } = log.count()
  const data = log.count((entry) => entry.kind === 'write' && entry.bytes === 4096).writes
  await node.close()
  return { writes, flushes, metadataBytes: bytes - data * 4096, data }
}

test('allocating writes in writethrough cost one flush lazily, two eagerly, and small metadata writes', async () => {
  const lazy = await countAllocatingWrites(true)
  const eager = await countAllocatingWrites(false)
  console.table({ lazy, eager })
  // Beside the writes themselves: refcount and L2 table for the first cluster, the dirty bit, and the file's length.
  expect(lazy).toEqual({
    data: WRITES,
    writes: 2 * WRITES + 4,
    flushes: WRITES + 3,
    metadataBytes: WRITES * 512 + 1048,
  })
  expect(eager).toEqual({
    data: WRITES,
    writes: 3 * WRITES + 3,
    flushes: 2 * WRITES + 1,
    metadataBytes: 2 * WRITES * 512 + 1040,
  })
})
