import { iotest } from '../src/harness.ts'

iotest(
  '121',
  'refcount structures grow without conflict and without holes',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const preallocated = async (name: string, kib: number) => {
      const image = await t.create({
        name,
        size: `${kib}K`,
        options: { preallocation: 'metadata', cluster_size: '1k' },
      })
      const run = await t.img(['resize', '-f', 'qcow2', image.path, '65M'])
      t.equal([run.code, run.text], [0, 'Image resized.\n'])
      return image
    }
    await t.section('the table is full, the next write needs a new one', async () => {
      const image = await preallocated('a.qcow2', 64512)
      await image.io(['write -P 1 62M 1025K', 'write -P 2 64M 1M', 'read -P 1 62M 1025K', 'read -P 2 64M 1M'])
      await image.isSound()
    })
    await t.section('the same one cluster later', async () => {
      const image = await preallocated('b.qcow2', 64513)
      await image.io(['write -P 1 63M 130K', 'read -P 1 63M 130K'])
      await image.isSound()
    })
    await t.section('a new refcount block takes the next cluster', async () => {
      const image = await t.create({
        name: 'c.qcow2',
        size: '1M',
        options: { cluster_size: '512', refcount_bits: '16' },
      })
      await image.io('write 0 124k')
      t.equal(await image.fileSize(), 128 * 1024)
      await image.io('write 124k 512')
      t.equal(await image.fileSize(), 128 * 1024 + 1024)
      await image.isSound()
    })
  },
)
