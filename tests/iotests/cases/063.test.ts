import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const MIB = 1024 ** 2

iotest(
  '063',
  'converting into an image that is already there',
  { formats: ['qcow2', 'raw', 'qed'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const source = await t.create({ name: 'source', size: '4M' })
    const contents = new Contents(4 * MIB).fill(0, MIB, 1).fill(3 * MIB, 64 * 1024, 2)
    await source.io([`write -P 1 0 1M`, `write -P 2 3M 64k`])
    const into = async (name: string, size: string) => {
      const target = await t.create({ name, size })
      const run = await t.img(['convert', '-n', '-f', t.format, '-O', t.format, source.path, target.path])
      return { target, run }
    }

    await t.section('of the same size, whatever was in it', async () => {
      const old = await t.create({ name: 'old', size: '4M' })
      await old.io('write -P 9 0 4M')
      await old.img(['convert', '-n', '-f', t.format, '-O', t.format, source.path, old.path])
      await old.holds(contents)
      await old.isSound()
    })

    await t.section('of a larger size, which stays', async () => {
      const { target, run } = await into('larger', '6M')
      t.equal([run.code, run.text], [0, ''])
      t.equal(await target.size(), 6 * MIB)
      await target.holds(contents.clone().resize(6 * MIB))
    })

    await t.section('not of a smaller size', async () => {
      const { target, run } = await into('smaller', '3M')
      t.equal([run.code, run.text], [1, 'qemu-img: output file is smaller than input file\n'])
      await target.io('read -P 0 0 3M')
    })

    await t.section('not where there is none, and then none is made', async () => {
      const missing = t.path('missing')
      const run = await t.img(['convert', '-n', '-f', t.format, '-O', t.format, source.path, missing])
      t.equal(run.code, 1)
      t.match(run.text, /No such file or directory/)
      t.equal((await t.img(['info', missing])).code, 1)
    })
  },
)
