import { rm } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '069',
  'a backing file that was deleted',
  { formats: ['qcow2'], groups: ['rw', 'backing', 'auto', 'quick'] },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '128k' })
    const image = await t.create({ name: 'top.qcow2', size: '128k', backing: base })
    await rm(base.path)
    const result = await image.tryIo('quit')
    t.equal(result.code, 1)
    t.equal(
      t.tidy(result.text),
      "qemu-io: can't open device DIR/top.qcow2: Could not open backing file: Could not open 'DIR/base.qcow2': No such file or directory\n",
    )
    t.equal((await t.img(['info', '-f', 'qcow2', image.path])).code, 0, 'info alone needs no backing file')
  },
)
