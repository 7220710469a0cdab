/** Making an image file shorter, in place. */
import type { BlockNode, CompactReport } from '@vmblock/block-core'
import { requireCallback, requireOptions, requireSignal } from '@vmblock/block-core/driver'
import { type JobSettings, runJob } from '../jobs/run-job.ts'

/** @throws BlockError EINVAL for wrong options; what compacting the node throws; the reason of the signal */
export async function compactImage(node: BlockNode, options: JobSettings): Promise<CompactReport> {
  requireOptions(options, 'options', { onProgress: requireCallback, signal: requireSignal })
  return runJob((control) => node.compact(control), options)
}
