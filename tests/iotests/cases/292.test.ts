import { iotest } from '../src/harness.ts'

iotest(
  '292',
  'growing an overlay over a longer backing file',
  { formats: ['qcow2'], groups: ['rw', 'backing', 'auto', 'quick'], unsupportedOptions: ['compat=0.10'] },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '128k' })
    await base.io('write -P 1 0 128k')
    const image = await t.create({ name: 'top.qcow2', size: '31k', backing: base })
    t.equal((await t.img(['resize', '-f', 'qcow2', image.path, '128k'])).text, 'Image resized.\n')
    await image.io(['read -P 1 0 31k', 'read -P 0 31k 97k'])
    await image.isSound()
  },
)
