/** Writes that allocate: the four kinds of image side by side, with and without a flush for each write. */
import { benchArguments, countOurs, countTheirs, diskBytes } from '../counts/allocating.ts'
import type { Counts } from '../counts/counts.ts'
import { createImage, type ImageKind, isAvailable, KINDS, RESERVED, syncToDisk } from '../images.ts'
import { QEMU, type Target, type Workload } from '../workload.ts'
import { streamContestants } from './requests.ts'

type Cache = 'writeback' | 'writethrough'

/** Writes for one count. Their number affects the result: the first ones cost more. */
const COUNTED = 512
const LEAST_COUNTED = 64

interface Setting {
  readonly cache: Cache
  readonly depth: number
  readonly count: number
  readonly target: Target
}

const SETTINGS: readonly Setting[] = [
  { cache: 'writeback', depth: 1, count: 30_000, target: { of: 'ratio', must: 4, aim: 10 } },
  { cache: 'writeback', depth: 64, count: 30_000, target: { of: 'ratio', must: 5, aim: 15 } },
  { cache: 'writethrough', depth: 1, count: 512, target: { of: 'flushes', must: 1, aim: 1 } },
  { cache: 'writethrough', depth: 64, count: 8192, target: { of: 'ratio', must: 4, aim: 15 } },
]

/** The target for the flushes of a reservation, relative to QEMU's eager mode: those of lazy refcounts. */
const AS_LAZY = 0.52

function targetOf({ id, format }: ImageKind, { target }: Setting): Target | undefined {
  if (format !== 'qcow2') return undefined
  return id === RESERVED.id && target.of === 'flushes' ? { ...target, aim: AS_LAZY } : target
}

function allocating(kind: ImageKind, setting: Setting): Workload {
  const { cache, depth, count } = setting
  const target = targetOf(kind, setting)
  // A flush of a file in memory costs nothing.
  const medium = cache === 'writethrough' ? 'disk' : 'memory'
  return {
    id: `allocate-4k-${kind.id}-${cache}-d${depth}`,
    title: `allocate 4 KiB ${kind.title}, ${cache}, depth ${depth}`,
    medium,
    unit: 'request',
    ...(target && { target }),
    isLater: !isAvailable(kind),
    async prepare(workbench) {
      const path = workbench.own(medium, 'allocated')
      const writes = workbench.scale(count)
      return streamContestants(workbench, {
        args: (writes, depth) => benchArguments({ kind, path, writes, depth }, cache, kind.runtimeOptions),
        theirArgs: (writes, depth) => benchArguments({ kind, path, writes, depth }, cache),
        count: writes,
        depth,
        async reset() {
          await createImage(path, kind, diskBytes(writes))
          if (medium === 'disk') syncToDisk(path)
        },
      })
    },
    ...(cache === 'writethrough' && {
      async count(workbench) {
        const writes = Math.max(workbench.scale(COUNTED), LEAST_COUNTED)
        const stream = { kind, path: workbench.own(medium, 'counted'), writes, depth }
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
  [...KINDS, ...(setting.cache === 'writethrough' ? [RESERVED] : [])].map((kind) =>
    allocating(kind, setting),
  ),
)
