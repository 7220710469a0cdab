import { iotest } from '../src/harness.ts'
import { l1Entry } from '../src/qcow2-bytes.ts'

iotest(
  '138',
  'check with absurd offsets, and what a repair reports',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'refcount_bits', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    await t.section('a data cluster far beyond the end of the file', async () => {
      const image = await t.create({ name: 'far.qcow2', size: 512, options: { cluster_size: '512' } })
      await image.io('write 0 512')
      const { offset } = await l1Entry(image.path, 0)
      t.equal(offset, 2048)
      // entry 1 of the L2 table, at a multiple of 2^32 clusters
      await image.poke(offset + 8, [0, 0x80, 0, 0, 0, 0, 0, 0])
      const verdict = await image.check()
      t.equal([verdict.errors, verdict.leaks, verdict.code], [1, 0, 2])
      t.match(
        verdict.text,
        'ERROR: counting reference for region exceeding the end of the file by one cluster or more: ' +
          'offset 0x80000000000000 size 0x200\n',
      )
    })
    await t.section('one leak and one wrong flag', async () => {
      const image = await t.create({ name: 'report.qcow2', size: '64k' })
      await image.io('write -P 0x3c 0 64k')
      const { refcountTableOffset, l1Offset, clusterSize } = await image.header()
      await image.poke(refcountTableOffset + clusterSize, [0, 2]) // the header, counted twice
      await image.poke(l1Offset, [0]) // no COPIED flag
      const run = await t.img(['check', '-r', 'all', '--output=json', '-f', 'qcow2', image.path])
      t.equal(run.code, 0)
      t.match(
        run.text,
        'Leaked cluster 0 refcount=2 reference=1\nRepairing cluster 0 refcount=2 reference=1\n',
      )
      t.match(run.text, 'Repairing OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=40000 refcount=1\n')
      const report = JSON.parse(run.text.slice(run.text.indexOf('{\n'), run.text.lastIndexOf('}') + 1))
      t.equal([report['leaks-fixed'], report['corruptions-fixed'], report['check-errors']], [1, 1, 0])
      await image.isSound()
      await image.io('read -P 0x3c 0 64k')
    })
  },
)
