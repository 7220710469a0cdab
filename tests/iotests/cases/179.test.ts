import { writeFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'

const MIB = 1024 * 1024

/** Kinds of ranges, as the map shows them. */
type Kind = 'hole' | 'zero' | 'zero on clusters' | 'data'

iotest(
  '179',
  'zero writes that may unmap',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'cluster_size', 'data_file'],
  },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: 64 * MIB })
    const image = await t.create({ size: 64 * MIB, backing: base })

    /** [kind, MiB] of the whole disk. A range may come in several entries, as clusters lie in the file. */
    const shows = async (
      target: Image,
      expected: readonly (readonly [Kind, number])[],
      depths?: readonly number[],
    ) => {
      const runs: [Kind, number][] = []
      const seen: number[] = []
      for (const { length, present, zero, data, offset, depth } of await target.map()) {
        const kind: Kind = data
          ? 'data'
          : present === false
            ? 'hole'
            : offset === undefined
              ? 'zero'
              : 'zero on clusters'
        t.equal(zero, kind !== 'data')
        const last = runs.at(-1)
        if (last?.[0] === kind && seen.at(-1) === depth) last[1] += length / MIB
        else {
          runs.push([kind, length / MIB])
          seen.push(depth)
        }
      }
      t.equal(runs, expected)
      if (depths) t.equal(seen, depths)
    }
    const hole = ['hole', 2] as const
    const zero = ['zero', 2] as const

    await base.io(['write -z -u 2M 2M', 'write -z 6M 2M'])
    await shows(base, [hole, zero, hole, zero, ['hole', 56]])
    await t.section('a byte less at both ends is the same, of unallocated clusters', async () => {
      await base.io([`write -z -u ${10 * MIB + 1} ${2 * MIB - 2}`, `write -z ${14 * MIB + 1} ${2 * MIB - 2}`])
      await shows(base, [hole, zero, hole, zero, hole, zero, hole, zero, ['hole', 48]])
    })
    const first = [hole, zero, hole, zero, hole, zero, hole, zero, hole] as const
    await t.section('over data: with unmap the clusters go, without they stay', async () => {
      await base.io(['write 18M 14M', 'write -z -u 20M 2M', 'write -z 24M 6M'])
      await shows(base, [
        ...first,
        ['data', 2],
        zero,
        ['data', 2],
        ['zero on clusters', 6],
        ['data', 2],
        ['hole', 32],
      ])
    })
    await t.section('over zeroes on clusters: unmap takes them away', async () => {
      await base.io(['write -z -u 26M 2M', 'write -z 28M 2M'])
      await shows(base, [
        ...first,
        ['data', 2],
        zero,
        ['data', 2],
        ['zero on clusters', 2],
        zero,
        ['zero on clusters', 2],
        ['data', 2],
        ['hole', 32],
      ])
    })
    await t.section('over zeroes without clusters nothing changes', async () => {
      await base.io(['write -z 32M 8M', 'write -z -u 34M 2M', 'write -z 36M 2M'])
      t.equal(
        (await base.map())
          .filter(({ start, length }) => start < 40 * MIB && start + length > 32 * MIB)
          .every(({ data }) => !data),
        true,
      )
    })
    await t.section('in an overlay, over zeroes, data and holes of the backing file', async () => {
      await base.io(['write -z 40M 8M', 'write 48M 8M'])
      await image.io([42, 44, 50, 52, 58, 60].map((at, i) => `write -z ${i % 2 === 0 ? '-u ' : ''}${at}M 2M`))
      const overlay = (await image.map()).filter(({ depth }) => depth === 0)
      t.equal(
        overlay.every(({ zero: isZero, data }) => isZero && !data),
        true,
      )
      // over zeroes and holes a zero write with -u may leave the overlay as it was
      const own = overlay.reduce((sum, { length }) => sum + length, 0)
      t.equal(own >= 6 * MIB && own <= 12 * MIB, true)
      await image.io([
        'read -P 0 40M 8M',
        'read -P 0xcd 48M 2M',
        'read -P 0 50M 4M',
        'read -P 0xcd 54M 2M',
        'read -P 0 56M 8M',
      ])
    })
    await base.isSound()
    await image.isSound()

    await t.section('zeroes that are there already touch no table', async () => {
      const rules = t.path('blkdebug.conf')
      await writeFile(
        rules,
        '[inject-error]\nevent = "l2_update"\nerrno = "5"\nimmediately = "on"\nonce = "off"\n',
      )
      for (const command of ['write -z -u 20M 2M', 'write -z 20M 2M', 'write -z 28M 2M']) {
        await base.io([`open -o driver=qcow2 blkdebug:${rules}:${base.path}`, command], { noFile: true })
      }
    })
  },
)
