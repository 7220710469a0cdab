import { iotest } from '../src/harness.ts'

iotest(
  '003',
  'vectored reads and writes',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '4M' })
    await image.io('readv -P 0 0 4M')
    await image.io('writev -P 0xa 0 4M')
    await image.io('readv -P 0xa 0 4M')

    await t.section('a request of seven buffers is one request', async () => {
      const buffers = Array<string>(7).fill('8k').join(' ')
      const written = await image.io(`writev -P 0xb 2M ${buffers}`)
      t.equal(written.reports, [{ verb: 'wrote', done: 57_344, wanted: 57_344, offset: 2 * 1024 * 1024 }])
      const read = await image.io(`readv -P 0xb 2M ${buffers}`)
      t.equal(read.reports, [{ verb: 'read', done: 57_344, wanted: 57_344, offset: 2 * 1024 * 1024 }])
    })
    await t.section('nothing around it changed', async () => {
      await image.io(['read -P 0xa 0 2M', 'read -P 0xa 2104k 1992k'])
    })
    await image.isSound()
  },
)
