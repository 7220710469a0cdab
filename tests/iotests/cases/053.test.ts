import { iotest } from '../src/harness.ts'

iotest(
  '053',
  'a disk of one sector, compressed',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    const source = await t.create({ name: 'source', size: 512 })
    await source.io('write -P 0xa 0 512')
    const target = t.image('target')
    await target.img(['convert', '-c', '-f', t.format, '-O', t.format, source.path, target.path])
    t.equal((await target.info())['virtual-size'], 512)
    await target.io('read -P 0xa 0 512')
    await target.isSound()
  },
)
