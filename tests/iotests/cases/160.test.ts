import { readFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '160',
  'dd that leaves out what comes first',
  { formats: ['raw'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const source = await t.create({ name: 'source', size: '1M' })
    await source.io('write -P 0xa 24 512k')
    const all = await readFile(source.path)
    for (const skip of [1, 2, 30, 30 * 1024]) {
      await t.section(`${skip} blocks`, async () => {
        const target = t.image(`after-${skip}`)
        const run = await target.img([
          'dd',
          '-f',
          'raw',
          `if=${source.path}`,
          `of=${target.path}`,
          `skip=${skip}`,
        ])
        const isBeyond = skip * 512 > all.length
        t.equal(t.tidy(run.text), isBeyond ? 'qemu-img: DIR/source: cannot skip to specified offset\n' : '')
        t.equal(Buffer.compare(await readFile(target.path), all.subarray(skip * 512)), 0)
      })
    }
  },
)
