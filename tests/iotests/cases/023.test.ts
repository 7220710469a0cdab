import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'
import { seeded } from '../src/random.ts'

iotest(
  '023',
  'every cluster size: whole, partial and crossing requests',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto'],
    unsupportedOptions: ['cluster_size', 'extended_l2', 'refcount_bits=64'],
  },
  async (t) => {
    for (const cluster of [512, 1024, 4096, 16384]) {
      await t.section(`clusters of ${cluster} bytes`, async () => {
        const size = 8 * 1024 ** 3
        const image = await t.create({
          name: `${cluster}.qcow2`,
          size,
          options: { cluster_size: String(cluster) },
        })
        const below = seeded(cluster)
        const table = (cluster / 8) * cluster
        for (const start of [0, 4 * 1024 ** 3]) {
          const window = 64 * cluster
          const contents = new Contents(start + window + 4 * table)
          const commands: string[] = []
          const write = (offset: number, bytes: number): void => {
            const byte = 1 + below(255)
            commands.push(`writev -P ${byte} ${offset} ${bytes}`)
            contents.fill(offset, bytes, byte)
          }
          for (let i = 0; i < 24; i++) {
            const at = start + below(60) * cluster
            const kind = below(5)
            if (kind === 0) write(at, cluster)
            if (kind === 1) write(at + cluster / 2, cluster / 2)
            if (kind === 2) write(at, cluster / 2)
            if (kind === 3) write(at + cluster / 4, cluster / 2)
            if (kind === 4) write(at + cluster / 2, 2 * cluster)
          }
          // across the end of an L2 table
          const end = Math.ceil((start + window) / table) * table + table
          write(end - 1.5 * cluster, 3 * cluster)
          await image.io(commands)
          await image.holds(contents, start, start + window)
          await image.holds(contents, end - 4 * cluster, end + 4 * cluster)
        }
        await image.isSound()
      })
    }
  },
)
