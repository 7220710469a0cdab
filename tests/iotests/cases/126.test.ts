import { iotest } from '../src/harness.ts'

iotest(
  '126',
  'colons in file names',
  { formats: ['qcow2'], groups: ['backing', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    await t.section('after a slash a colon is no protocol; file: is one', async () => {
      const image = t.image('a:b.qcow2')
      for (const name of [image.path, `file:${image.path}`]) {
        const run = await t.img(['create', '-f', 'qcow2', name, '64M'])
        t.equal(run.code, 0)
        t.equal(await image.size(), 64 * 1024 * 1024)
        t.equal((await t.img(['info', '-f', 'qcow2', name])).code, 0)
      }
    })
    await t.section('relative backing names', async () => {
      const base = await t.create({ name: 'image:base.qcow2', size: '64M' })
      await base.io('write -P 5 0 64k')
      const top = await t.create({
        name: 'image:top.qcow2',
        backing: './image:base.qcow2',
        backingFormat: 'qcow2',
      })
      await top.io('read -P 5 0 64k')
      const run = await t.img(['info', '-f', 'qcow2', top.path])
      t.match(t.tidy(run.text), 'backing file: ./image:base.qcow2 (actual path: DIR/./image:base.qcow2)\n')
    })
    await t.section('a name that looks like an unknown protocol', async () => {
      const run = await t.img(['create', '-f', 'qcow2', 'nosuch:image.qcow2', '64M'])
      t.equal(
        [run.code, run.text.split('\n').at(-2)],
        [1, "qemu-img: nosuch:image.qcow2: Unknown protocol 'nosuch'"],
      )
    })
  },
)
