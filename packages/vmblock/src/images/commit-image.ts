/** Writing an overlay down into its backing file. */
import { type BlockNode, commitNode } from '@vmblock/block-core'
import { requireCallback, requireOptions, requireSignal } from '@vmblock/block-core/driver'
import { type JobSettings, runJob } from '../jobs/run-job.ts'

/** @throws BlockError as `commitNode`; the reason of the signal */
export async function commitImage(node: BlockNode, options: JobSettings): Promise<void> {
  requireOptions(options, 'options', { onProgress: requireCallback, signal: requireSignal })
  await runJob((control) => commitNode(node, {}, control), options)
}
