/** The copying of `convert`, once everything is open: with progress and warnings. */
import { type BlockNode, type CopyKind, type CopyMap, type CopyOptions, copyNodes } from '@vmblock/block-core'
import { errorText } from '@vmblock/block-core/late'
import { allocateAligned, isZeroBytes } from '@vmblock/block-core/node'
import type { Call } from '../kit/command.ts'
import { runJob } from '../kit/job.ts'
import type { Progress } from '../kit/progress.ts'

/** A copy: source, target and options. */
export interface DiskCopy {
  readonly map: CopyMap
  readonly target: BlockNode
  /** Shortest run of zeroes that is left out of data, in bytes; 0: none, the target is fully allocated. */
  readonly minimum: number
  /** Whether the target already reads as zeroes. */
  readonly isZero: boolean
  readonly parallel?: number | undefined
  readonly outOfOrder?: boolean | undefined
  readonly compress?: boolean | undefined
  readonly offload?: boolean | undefined
  readonly salvage?: boolean | undefined
  /** Bytes per second. */
  readonly rate?: number | undefined
}

const DATA: ReadonlySet<CopyKind> = new Set(['data'])
const DATA_AND_ZEROES: ReadonlySet<CopyKind> = new Set(['data', 'zero'])

/** Warns about an error at an offset, with `what` before it; silent with `-q`. */
export const warnOf =
  ({ options, output }: Call, what: string) =>
  (offset: number, error: unknown): void => {
    if (!options['quiet']) output.warn(`${what} ${offset}: ${errorText(error)}`)
  }

/** Copies everything. @throws what {@link runJob} throws */
export async function copyDisk(call: Call, copy: DiskCopy, progress: Progress): Promise<void> {
  const { map, target, minimum } = copy
  const counted = minimum === 0 ? DATA_AND_ZEROES : DATA
  const total = await map.count(counted)
  const alignment = Math.max(2 ** Math.floor(Math.log2(minimum)), target.limits.requestAlignment)
  const cluster = copy.compress ? (await target.info()).clusterSize : undefined
  progress.ofBytes(total)
  let begun = 0
  const options: CopyOptions = {
    map,
    target,
    parallel: copy.parallel,
    outOfOrder: copy.outOfOrder,
    offload: copy.offload,
    rate: copy.rate,
    zeroes: minimum === 0 ? 'data' : copy.isZero ? 'skip' : 'write',
    ...(minimum > 0 && { sparse: { minimum, alignment, isZero: isZeroBytes } }),
    ...(cluster !== undefined && {
      compressedCluster: cluster,
      sparse: { minimum: cluster, alignment: cluster, isZero: isZeroBytes },
    }),
    allocate: allocateAligned,
    // Not the progress of the job: as in QEMU, a piece counts when it begins, and only if it moves data.
    onBegin({ kind, bytes }) {
      if (!counted.has(kind)) return
      begun += bytes
      progress.set((100 * begun) / total)
    },
    ...(copy.salvage && { onReadError: warnOf(call, 'error while reading offset') }),
  }
  await runJob(call, (control) => copyNodes(options, control))
}
