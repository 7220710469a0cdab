import { truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'
import { l1Entry } from '../src/qcow2-bytes.ts'

iotest(
  '108',
  'rebuilding the refcount structure',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'refcount_bits', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    await t.section('no refcount table at all', async () => {
      const image = await t.create({ name: 'none.qcow2', size: '64M' })
      await image.io('write -P 42 0 64k')
      await image.poke(48, new Array<number>(12).fill(0)) // its offset and its clusters
      const verdict = await image.check({ repair: 'all' })
      t.equal([verdict.code, verdict.fixed], [0, { leaks: 0, corruptions: 4 }])
      await image.io('read -P 42 0 64k')
      await image.isSound()
    })

    await t.section('a data cluster where the new block would describe itself', async () => {
      const image = await t.create({ name: 'clash.qcow2', size: '64M', options: { cluster_size: '512' } })
      await image.io('write 0 0x1b200')
      t.equal(await image.fileSize(), 131_072)
      // the next guest cluster lies at 128k, which no refcount block covers
      const table = await l1Entry(image.path, Math.floor(0x1b200 / 32768))
      await image.poke(table.offset + ((0x1b200 % 32768) / 512) * 8, [0x80, 0, 0, 0, 0, 2, 0, 0])
      await truncate(image.path, 0x20200)
      await image.io(['write -P 42 128k 512'], { format: 'raw' })
      await image.io('read -P 42 0x1b200 512', { readOnly: true })
      const verdict = await image.check({ repair: 'all' })
      t.equal([verdict.code, verdict.fixed], [0, { leaks: 0, corruptions: 1 }])
      await image.io('read -P 42 0x1b200 512')
      await image.isSound()
    })

    for (const [name, offset, counted] of [
      ['beyond the end', [0, 0, 0, 0, 0, 0x10, 0, 0], true],
      ['beyond the end and counted as free', [0, 0, 0, 0, 0, 0x10, 0, 0], false],
      ['at the end of signed numbers', [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], false],
      ['at the end of all numbers', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], false],
    ] as const) {
      await t.section(`a refcount block ${name}`, async () => {
        const image = await t.create({ name: `${name}.qcow2`, size: '64M' })
        const { refcountTableOffset, clusterSize } = await image.header()
        await image.poke(refcountTableOffset + 8, offset)
        if (counted) await image.poke(refcountTableOffset + clusterSize + 0x20, [0, 1])
        const verdict = await image.check({ repair: 'all' })
        t.match(verdict.text, 'Repairing refcount block 1 is outside image\n')
        t.equal(verdict.code, 0)
        await image.isSound()
      })
    }

    await t.section('a file longer than its contents does not grow', async () => {
      const image = await t.create({ name: 'long.qcow2', size: '1M', options: { cluster_size: '512' } })
      await image.io('write -P 7 0 64k')
      const length = (await image.fileSize()) + 256 * 1024
      await truncate(image.path, length)
      const { refcountTableOffset, clusterSize } = await image.header()
      await image.poke(refcountTableOffset + clusterSize, [0, 0]) // the header counts as free: rebuild
      const verdict = await image.check({ repair: 'all' })
      t.match(verdict.text, 'Rebuilding refcount structure\n')
      t.equal(await image.fileSize(), length)
      await image.io('read -P 7 0 64k')
      await image.isSound()
    })
  },
)
