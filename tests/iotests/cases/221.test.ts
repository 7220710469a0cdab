import { truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '221',
  'the map of a raw file that ends inside a sector',
  {
    formats: ['raw'],
    groups: ['rw', 'auto', 'quick'],
    caches: ['writeback', 'writethrough', 'unsafe'],
    requires: ['holes'],
  },
  async (t) => {
    const image = await t.create({ size: 65537 })
    t.equal(await image.fileSize(), 66048, 'rounded up at creation')
    const kinds = async () =>
      (await image.map()).map(({ start, length, zero, data }) => [
        start,
        length,
        zero ? 'zero' : data ? 'data' : '?',
      ])
    await image.io('discard 0 65537')
    t.equal(await kinds(), [[0, 66048, 'zero']])
    await truncate(image.path, 65537)
    t.equal(await kinds(), [[0, 66048, 'zero']], 'the missing part of the last sector reads as zero')
    await image.io('write 65536 1')
    const total = (await kinds()).reduce((sum, [, length]) => sum + Number(length), 0)
    t.equal(total, 66048)
    t.equal((await kinds())[0], [0, 65536, 'zero'])
    await image.io(['read -P 0 0 65536', 'read -P 0xcd 65536 1', 'read -P 0 65537 511'])
    await truncate(image.path, 65537)
    await image.io(['read -P 0xcd 65536 1', 'read -P 0 65537 511'])
  },
)
