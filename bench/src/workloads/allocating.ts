/** Writes that allocate: the four kinds of image side by side, with and without a flush for each write. */
import { benchArguments, countOurs, countTheirs, diskBytes } from '../counts/allocating.ts'
import type { Counts } from '../counts/counts.ts'
import { createImage, type ImageKind, KINDS, settle } from '../images.ts'
import { QEMU, type Target, type Workload } from '../workload.ts'
import { streamContestants } from './requests.ts'

type Cache = 'writeback' | 'writethrough'

/** Writes for one count. Their number is part of what comes out: the first ones cost more. */
const COUNTED = 512

interface Setting {
  readonly cache: Cache
  readonly depth: number
  readonly count: number
  readonly target: Target
}

const SETTINGS: readonly Setting[] = [
  { cache: 'writeback', depth: 1, count: 8192, target: { of: 'ratio', must: 4, aim: 10 } },
  { cache: 'writeback', depth: 64, count: 8192, target: { of: 'ratio', must: 5, aim: 15 } },
  { cache: 'writethrough', depth: 1, count: 512, target: { of: 'flushes', must: 1, aim: 1 } },
  { cache: 'writethrough', depth: 64, count: 2048, target: { of: 'ratio', must: 4, aim: 15 } },
]

function allocating(kind: ImageKind, { cache, depth, count, target }: Setting): Workload {
  // A flush of a file in memory costs nothing.
  const place = cache === 'writethrough' ? 'disk' : 'memory'
  const isQcow2 = kind.format === 'qcow2'
  return {
    id: `allocate-4k-${kind.id}-${cache}-d${depth}`,
    title: `allocate 4 KiB ${kind.title}, ${cache}, depth ${depth}`,
    place,
    unit: 'request',
    ...(isQcow2 && { target }),
    async prepare(workbench) {
      const path = workbench.own(place, 'allocated')
      const writes = workbench.scale(count)
      return streamContestants(workbench, {
        args: (writes, depth) => benchArguments({ format: kind.format, path, writes, depth, cache }),
        count: writes,
        depth,
        async reset() {
          await createImage(path, kind, diskBytes(writes))
          if (place === 'disk') settle(path)
        },
      })
    },
    ...(cache === 'writethrough' && {
      async count(workbench) {
        const writes = workbench.scale(COUNTED)
        const stream = { kind, path: workbench.own(place, 'counted'), writes, depth }
        const counts: Record<string, Counts> = {}
        const mine = await countOurs(stream)
        for (const { id } of workbench.runtimes) counts[id] = mine
        if (workbench.hasQemu && workbench.canTrace) counts[QEMU] = await countTheirs(stream)
        return counts
      },
    }),
  }
}

/** Rows of writes to fresh clusters. */
export const allocatingWorkloads: readonly Workload[] = SETTINGS.flatMap((setting) =>
  KINDS.map((kind) => allocating(kind, setting)),
)
