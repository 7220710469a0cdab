import { iotest } from '../src/harness.ts'
import { refcountAt } from '../src/qcow2-bytes.ts'

iotest(
  '015',
  'snapshots that make the refcount table grow',
  { formats: ['qcow2'], groups: ['rw', 'snapshot', 'auto'], ownOptions: true },
  async (t) => {
    // A table of one cluster counts 8 MiB: enough for the first filling of the disk, not for the second and third.
    const image = await t.create({ size: '5M', options: { cluster_size: '512' } })
    const before = await image.header()
    await image.io('aio_write -P 123 0 5M')
    await image.img(['snapshot', '-c', 'one', image.path])
    t.equal((await image.header()).refcountTableClusters, before.refcountTableClusters)
    await image.io('aio_write -P 165 0 5M')
    await image.img(['snapshot', '-c', 'two', image.path])
    t.equal((await image.header()).refcountTableClusters > before.refcountTableClusters, true)
    t.equal(await refcountAt(image.path, before.refcountTableOffset), 0, 'the old table is free')
    await image.isSound()
    for (const [tag, byte] of [
      ['one', 123],
      ['two', 165],
    ]) {
      await image.img(['snapshot', '-a', String(tag), image.path])
      await image.io(`aio_read -P ${byte} 0 5M`)
      await image.isSound()
    }
  },
)
