import { mkdir } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'

iotest(
  '024',
  'an overlay that gets another backing file',
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    // 27 clusters for each of several images.
    unsupportedOptions: ['cluster_size=2M'],
    timeout: 60_000,
  },
  async (t) => {
    const cluster = t.clusterSize
    /** Writes patterns, a cluster each; undefined: nothing. */
    const put = async (image: Image, patterns: readonly (number | undefined)[]): Promise<void> => {
      const commands = patterns.flatMap((pattern, i) =>
        pattern === undefined ? [] : [`write -P ${pattern} ${i * cluster} ${cluster}`],
      )
      await image.io(commands)
    }
    const shows = (image: Image, patterns: readonly (number | undefined)[]) =>
      image.io(patterns.map((pattern, i) => `read -P ${pattern ?? 0} ${i * cluster} ${cluster}`))
    const rebase = (image: Image, backing: Image | undefined) =>
      image.img([
        'rebase',
        ...(backing ? ['-b', backing.path, '-F', backing.format] : ['-b', '']),
        '-f',
        image.format,
        image.path,
      ])

    /** Everything that an old backing file, a new one and an overlay may hold in a cluster: nothing, zeroes, data. */
    const kinds = [undefined, 0, 1] as const
    const cases = kinds.flatMap((old) => kinds.flatMap((next) => kinds.map((top) => ({ old, next, top }))))
    const dataIf = (kind: number | undefined, pattern: number) => (kind === 1 ? pattern : kind)
    const oldHas = cases.map(({ old }) => dataIf(old, 0x11))
    // Where both have data, it is the same in every other cluster.
    const nextHas = cases.map(({ next }, i) => dataIf(next, i % 2 === 0 ? 0x11 : 0x22))
    const topHas = cases.map(({ top }) => dataIf(top, 0x33))
    const shown = cases.map((_, i) => topHas[i] ?? oldHas[i])
    const size = cases.length * cluster

    const base = await t.create({ name: 'base', size })
    const make = async (name: string, bytes: number, backing?: Image): Promise<Image> =>
      t.create({ name, size: bytes, ...(backing && { backing }) })

    await t.section('shows what it showed', async () => {
      const [old, next] = [await make('old', size), await make('next', size)]
      await put(old, oldHas)
      await put(next, nextHas)
      const top = await make('top', size, old)
      await put(top, topHas)
      await shows(top, shown)
      await rebase(top, next)
      await shows(top, shown)
      t.equal((await top.info())['backing-filename'], next.path)
      await top.isSound()
      await t.section('also without any', async () => {
        await rebase(top, undefined)
        await shows(top, shown)
        t.equal((await top.info())['backing-filename'], undefined)
      })
    })

    await t.section('whatever is shorter', async () => {
      const [old, next] = [await make('short-old', 2 * cluster), await make('short-next', 3 * cluster)]
      await put(old, [0x11, 0x11])
      await put(next, [0x22, 0x22, 0x22])
      const top = await make('long', 5 * cluster, old)
      await rebase(top, next)
      await shows(top, [0x11, 0x11, 0, 0, 0])
      await rebase(top, old)
      await shows(top, [0x11, 0x11, 0, 0, 0])
      await top.isSound()
    })

    await t.section('onto a lower image of its own chain, and back', async () => {
      await put(base, [0x11, 0x11, 0x11])
      const middle = await make('middle', size, base)
      await put(middle, [undefined, 0x22, 0])
      const top = await make('above', size, middle)
      await rebase(top, base)
      await shows(top, [0x11, 0x22, 0])
      // What nothing above the base holds was not copied.
      t.equal((await top.map())[0], { ...(await top.map())[0], start: 0, depth: 1 })
      await rebase(top, middle)
      await shows(top, [0x11, 0x22, 0])
    })

    await t.section('named relative to the overlay', async () => {
      await mkdir(t.path('sub'))
      const old = await make('sub/old', size)
      const next = await make('sub/next', size)
      await put(old, [0x11, 0x22])
      await put(next, [0x11, 0x33])
      const top = await make('sub/top', size, old)
      await top.img(['rebase', '-f', t.format, '-b', 'next', '-F', t.format, top.path])
      await shows(top, [0x11, 0x22])
      const info = await top.info()
      t.equal([info['backing-filename'], info['full-backing-filename']], ['next', next.path])
    })

    await t.section('is refused onto itself, and without a format', async () => {
      const top = await make('alone', size, base)
      const self = await t.img(['rebase', '-f', t.format, '-b', top.path, '-F', t.format, top.path])
      t.equal(self.code, 1)
      const bare = await t.img(['rebase', '-f', t.format, '-b', base.path, top.path])
      t.equal(
        [bare.code, t.tidy(bare.text)],
        [1, "qemu-img: Could not change the backing file to 'DIR/base': backing format must be specified\n"],
      )
      t.equal((await top.info())['backing-filename'], base.path)
    })
  },
)
