import { stat } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '243',
  'what preallocation takes on the host',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const size = 16 * MIB
    // header, refcount table, refcount block, one L1 entry
    const empty = 3 * 65536 + 8
    for (const [preallocation, length, taken] of [
      ['off', empty, 'little'],
      ['metadata', 5 * 65536 + size, 'little'],
      ['falloc', 5 * 65536 + size, 'all'],
      ['full', 5 * 65536 + size, 'all'],
    ] as const) {
      await t.section(`preallocation=${preallocation}`, async () => {
        const image = await t.create({ size, options: { preallocation } })
        t.equal(await image.fileSize(), length)
        t.equal((await image.diskUsage()) < MIB ? 'little' : 'all', taken)
        await image.io(`read -P 0 0 ${size}`)
        await image.isSound()
      })
      await t.section(`preallocation=${preallocation} with a data file`, async () => {
        const image = await t.create({
          name: 'd.qcow2',
          size,
          options: { preallocation, data_file: '$IMG.data' },
        })
        const data = await stat(`${image.path}.data`)
        t.equal(await image.fileSize(), preallocation === 'off' ? empty : 5 * 65536)
        t.equal(data.size, size)
        t.equal((await image.diskUsage()) < MIB, true)
        t.equal(data.blocks * 512 < MIB ? 'little' : 'all', taken)
        await image.isSound()
      })
    }
  },
)
