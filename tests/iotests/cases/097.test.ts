import { iotest } from '../src/harness.ts'

// beyond 2 GiB, and not a multiple of a cluster
const SIZE = 2100 * 1024 * 1024 + 512
const AT = 0x7ffd0000
const PIECE = 64 * 1024

iotest(
  '097',
  'commit down a chain of three',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    // 4 million clusters of 512 bytes take QEMU too long to walk
    unsupportedOptions: ['cluster_size', 'refcount_bits'],
  },
  async (t) => {
    const passes = [
      {
        about: 'by default into the next one; the top is emptied',
        args: [],
        target: 'middle',
        emptied: true,
      },
      { about: 'into a named one; the top stays', args: ['-b', 'middle'], target: 'middle', emptied: false },
      { about: 'with -d the top stays', args: ['-d'], target: 'middle', emptied: false },
      { about: 'past the middle; middle and top stay', args: ['-b', 'base'], target: 'base', emptied: false },
    ] as const

    for (const [i, pass] of passes.entries()) {
      await t.section(pass.about, async () => {
        const base = await t.create({ name: `${i}-base.qcow2`, size: SIZE })
        const middle = await t.create({ name: `${i}-middle.qcow2`, size: SIZE, backing: base })
        const top = await t.create({ name: `${i}-top.qcow2`, size: SIZE, backing: middle })
        await base.io(`write -P 1 ${AT} 192k`)
        await middle.io(`write -P 2 ${AT + PIECE} 128k`)
        await top.io([`write -P 3 ${AT + 2 * PIECE} 64k`, `write -P 4 ${SIZE - 512} 512`])
        const topBefore = await top.map()
        const middleBefore = await middle.map()

        const args = pass.args.map((arg) =>
          arg === 'middle' ? middle.path : arg === 'base' ? base.path : arg,
        )
        const run = await t.img(['commit', ...args, top.path])
        t.equal([run.code, run.text], [0, 'Image committed.\n'])

        const target = pass.target === 'base' ? base : middle
        await target.io([
          `read -P 1 ${AT} 64k`,
          `read -P 2 ${AT + PIECE} 64k`,
          `read -P 3 ${AT + 2 * PIECE} 64k`,
          `read -P 4 ${SIZE - 512} 512`,
        ])
        if (pass.target === 'middle') {
          await base.io([`read -P 1 ${AT} 192k`, `read -P 0 ${SIZE - 512} 512`])
        } else {
          t.equal(
            (await middle.map()).filter((entry) => entry.depth === 0),
            middleBefore.filter((entry) => entry.depth === 0),
          )
        }
        const own = (await top.map()).filter((entry) => entry.depth === 0)
        t.equal(own, pass.emptied ? [] : topBefore.filter((entry) => entry.depth === 0))
        for (const image of [base, middle, top]) await image.isSound()
      })
    }
  },
)
