import { iotest } from '../src/harness.ts'

iotest(
  '029',
  'L1 tables of a snapshot and of the image that differ in length',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick', 'snapshot'], ownOptions: true },
  async (t) => {
    const create = (name: string, size: string, cluster_size: string) =>
      t.create({ name, size, options: { cluster_size } })

    await t.section('a state of the machine that made the table grow after the snapshot', async () => {
      for (const [cluster, size, state] of [
        ['64k', '64M', '4k'],
        ['1k', '16M', '4M'],
      ] as const) {
        const image = await create(`grown-${cluster}`, size, cluster)
        await image.io('write -P 3 0 64k')
        const { l1Size } = await image.header()
        await image.img(['snapshot', '-c', 'foo', image.path])
        await image.io(`write -b -P 5 0 ${state}`)
        t.equal((await image.header()).l1Size > l1Size, true)
        await image.img(['snapshot', '-a', 'foo', image.path])
        await image.io(['read -P 3 0 64k', 'read -P 0 64k 64k'])
        await image.isSound()
      }
    })

    await t.section('a state of the machine far away', async () => {
      const image = await create('far', '64M', '64k')
      await image.io('write -b -P 0x11 1T 4k')
      await image.img(['snapshot', '-c', 'foo', image.path])
      await image.io('write -b -P 0x22 1T 4k')
      await image.img(['snapshot', '-a', 'foo', image.path])
      await image.io('read -b -P 0x11 1T 4k')
      await image.isSound()
    })

    await t.section('a snapshot larger than the image is read with its own table', async () => {
      const image = await create('larger', '64M', '512')
      await image.io('write -P 7 63M 1M')
      await image.img(['snapshot', '-c', 'foo', image.path])
      // The image has a size of 512 bytes and a table of one entry now, whatever its refcounts say.
      await image.poke(24, [0, 0, 0, 0, 0, 0, 2, 0])
      await image.poke(36, [0, 0, 0, 1])
      const copy = t.image('copy', 'raw')
      await image.img(['convert', '-l', 'foo', '-f', 'qcow2', '-O', 'raw', image.path, copy.path])
      // QEMU reads no more than the image has now.
      if (t.ours) await copy.io(['read -P 0 0 63M', 'read -P 7 63M 1M'])
      else await copy.io('read -P 0 0 512')
    })
  },
)
