import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '274',
  'a short image in the middle of a chain',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing'],
    unsupportedOptions: ['refcount_bits', 'compat', 'cluster_size=2M', 'cluster_size=512'],
  },
  async (t) => {
    const chain = async (name: string) => {
      const base = await t.create({ name: `${name}-base`, size: 2 * MIB })
      const middle = await t.create({ name: `${name}-middle`, size: MIB, backing: base })
      const top = await t.create({ name: `${name}-top`, size: 2 * MIB, backing: middle })
      await base.io(`write -P 1 0 ${2 * MIB}`)
      return { base, middle, top }
    }
    const half = [`read -P 1 0 ${MIB}`, `read -P 0 ${MIB} ${MIB}`]

    await t.section('beyond the end of the middle there are zeroes', async () => {
      const { base, middle, top } = await chain('map')
      await top.io(half)
      const alloc = [`alloc 0 ${MIB}`, `alloc ${MIB} ${MIB}`]
      const says = (first: string, second: string) => [
        `${first} bytes allocated at offset 0 bytes`,
        `${second} bytes allocated at offset 1 MiB`,
      ]
      t.equal((await base.io(alloc)).lines, says('1048576/1048576', '1048576/1048576'))
      t.equal((await middle.io(alloc)).lines, says('0/1048576', '0/0'))
      t.equal((await top.io(alloc)).lines, says('0/1048576', '0/1048576'))
      const kinds = (await top.map()).map(({ start, length, depth, zero, data }) => [
        start,
        length,
        depth,
        zero,
        data,
      ])
      t.equal(kinds, [
        [0, MIB, 2, false, true],
        [MIB, MIB, 0, true, false], // zeroes that no image holds count as the top's
      ])
      t.equal(
        (await middle.map()).reduce((sum, { length }) => sum + length, 0),
        MIB,
      )
    })
    await t.section('commit into the middle makes it longer', async () => {
      const { middle, top } = await chain('middle')
      t.equal((await t.img(['commit', top.path])).text, 'Image committed.\n')
      t.equal(await middle.size(), 2 * MIB)
      await middle.io(half)
      await middle.isSound()
    })
    await t.section('commit into the base takes the zeroes along', async () => {
      const { base, top } = await chain('base')
      t.equal((await t.img(['commit', '-b', base.path, top.path])).text, 'Image committed.\n')
      t.equal(await base.size(), 2 * MIB)
      await base.io(half)
      await base.isSound()
    })

    for (const [preallocation, longer, from, to, at] of [
      ['off', '6G', '1G', '8G', '5G'],
      ['metadata', '64M', '30M', '66M', '31M'],
      ['falloc', '10M', '5M', '15M', '9M'],
      ['full', '16M', '8M', '12M', '11M'],
      ['off', '384k', '253k', '512k', '253k'],
      ['off', '400k', '256k', '512k', '336k'],
      ['off', '512k', '256k', '500k', '436k'],
    ] as const) {
      await t.section(`growing under ${longer} from ${from} to ${to}, ${preallocation}`, async () => {
        const base = await t.create({ name: 'grow-base', size: longer })
        const top = await t.create({ name: 'grow-top', size: from, backing: base })
        await base.io(`write -P 1 ${at} 64k`)
        const run = await t.img(['resize', '-f', 'qcow2', '--preallocation', preallocation, top.path, to])
        t.equal([run.code, run.text], [0, 'Image resized.\n'])
        await top.io(`read -P 0 ${at} 64k`)
        await top.isSound()
      })
    }
  },
)
