import { iotest } from '../src/harness.ts'

iotest(
  '054',
  'images larger than the format can describe',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
  },
  async (t) => {
    await t.section('create refuses an exabyte', async () => {
      const { run } = await t.tryCreate({ size: '1048576T' })
      t.equal(run.code, 1)
      t.match(
        t.tidy(run.text),
        "qemu-img: DIR/t.qcow2: The image size is too large for file format 'qcow2' (try using a larger cluster size)\n",
      )
    })
    await t.section('open refuses a header that says so', async () => {
      const image = await t.create({ name: 'large.qcow2', size: '4G' })
      await image.poke(24, [0x10, 0, 0, 0, 0, 0, 0, 0])
      const verdict = await image.check()
      t.equal(verdict.code, 1)
      t.equal(t.tidy(verdict.text), "qemu-img: Could not open 'DIR/large.qcow2': Image is too big\n")
    })
  },
)
