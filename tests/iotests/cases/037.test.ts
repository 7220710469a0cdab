import { iotest } from '../src/harness.ts'

const KIB = 1024

/** A byte that differs between adjacent sectors and between clusters. */
const patternOf = (sector: number): number => ((sector % 256) + Math.floor(sector / 256)) % 256

iotest(
  '037',
  'copy on write around partial writes',
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
  },
  async (t) => {
    const options = { cluster_size: '4k' }
    const backing = (verb: string, from: number, bytes: number): string[] =>
      Array.from({ length: bytes / 512 }, (_, i) => from / 512 + i).map(
        (sector) => `${verb} -P ${patternOf(sector)} ${sector * 512} 512`,
      )
    const base = await t.create({ name: 'base.qcow2', size: '128M', options })
    await base.io(backing('write', 0, 128 * KIB))
    const image = await t.create({ size: '6G', options, backing: base })

    // [start, length, pattern] in KiB, in one, two and many clusters: at the start, at the end, inside
    const groups = [
      [[0, 2, 0x77], [6, 2, 0x88], [9, 2, 0x99], 12],
      [[16, 6, 0x77], [26, 6, 0x88], [33, 5, 0x99], 40],
      [[48, 15, 0x77], [66, 14, 0x88], [83, 15, 0x99], 100],
    ] as const
    for (const [first, second, third, end] of groups) {
      const writes = [first, second, third]
      await image.io(writes.map(([at, length, byte]) => `write -P ${byte} ${at}k ${length}k`))
      const reads: string[] = []
      let from: number = first[0]
      for (const [at, length, byte] of writes) {
        reads.push(...backing('read', from * KIB, (at - from) * KIB), `read -P ${byte} ${at}k ${length}k`)
        from = at + length
      }
      reads.push(...backing('read', from * KIB, (end - from) * KIB))
      await image.io(reads)
    }
    await image.isSound()
  },
)
