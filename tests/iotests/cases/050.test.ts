import { iotest } from '../src/harness.ts'

iotest(
  '050',
  'zeroes of an overlay that gets another backing file',
  { formats: ['qcow2', 'qed'], groups: ['rw', 'auto', 'backing', 'quick'] },
  async (t) => {
    const size = '10M'
    const old = await t.create({ name: 'old', size })
    const next = await t.create({ name: 'next', size })
    await old.io('write -P 0x40 0 1M')
    await next.io('write -P 0x5a 0 1M')
    const top = await t.create({ size, backing: old })
    await top.io('write -z 0 1M')
    await top.img(['rebase', '-f', t.format, '-b', next.path, '-F', t.format, top.path])
    await top.io(['read -P 0 0 1M', 'read -P 0 1M 9M'])
    await top.isSound()
  },
)
