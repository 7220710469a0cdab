import { iotest } from '../src/harness.ts'

iotest(
  '150',
  'what a converted image allocates',
  {
    formats: ['raw', 'qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2', 'data_file'],
  },
  async (t) => {
    const source = await t.create({ name: 'source', size: '4M' })
    // Data at two offsets, the second of which holds zeroes.
    await source.io(['write -P 1 1M 64k', 'write -P 0 2M 64k'])
    const convert = async (name: string, ...more: string[]) => {
      const target = t.image(name)
      await target.img(['convert', '-f', t.format, '-O', t.format, ...more, source.path, target.path])
      await target.img(['compare', '-f', t.format, '-F', t.format, source.path, target.path])
      await target.isSound()
      return target
    }
    /** Runs of the disk that the image itself holds, in clusters. */
    const held = async (image: Awaited<ReturnType<typeof convert>>): Promise<[number, number][]> => {
      const runs: [number, number][] = []
      for (const { start, length, present } of await image.map()) {
        if (present !== true) continue
        const last = runs.at(-1)
        if (last && last[0] + last[1] === start / 65_536) last[1] += length / 65_536
        else runs.push([start / 65_536, length / 65_536])
      }
      return runs
    }
    const everything: [number, number][] = [[0, 64]]

    await t.section('is what is not zero', async () => {
      const target = await convert('sparse')
      // A raw image holds all of itself.
      t.equal(await held(target), t.format === 'raw' ? everything : [[16, 1]])
    })
    await t.section('is everything with -S 0', async () => {
      const target = await convert('full', '-S', '0')
      t.equal(await held(target), everything)
      if (t.format === 'raw') t.equal((await target.diskUsage()) >= 4 * 1024 ** 2, true)
    })
    if (t.format === 'qcow2') {
      await t.section('is everything where it is preallocated', async () => {
        const target = await convert('prepared', '-o', 'preallocation=metadata')
        t.equal(await held(target), everything)
      })
    }
  },
)
