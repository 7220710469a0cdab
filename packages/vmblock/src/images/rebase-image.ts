/** Giving an overlay another backing file. */
import { type BlockNode, rebaseNode, skipFilters } from '@vmblock/block-core'
import {
  expects,
  requireCallback,
  requireFlag,
  requireOptions,
  requireSignal,
  requireText,
} from '@vmblock/block-core/driver'
import { type JobSettings, runJob } from '../jobs/run-job.ts'

/** How an overlay gets another backing file. Progress is in bytes of the disk. */
export interface RebaseOptions extends JobSettings {
  /** The format of the new backing file. Default: found out from its content, if `allow` lets that be. */
  readonly format?: string | undefined
  /**
   * The new backing file, open already: for one that the name alone does not open, as in a page. It stays open, and is
   * in use until the overlay is closed.
   */
  readonly node?: BlockNode | undefined
  /** Whether whole clusters that are copied are compressed. Default: no. */
  readonly compress?: boolean | undefined
  /**
   * Only change the name in the image, as after the backing file was moved: nothing is compared, opened or copied, and
   * the open disk goes on with the file that it has. Default: no.
   */
  readonly unsafe?: boolean | undefined
  /**
   * Whether an image with snapshots inside is rebased, too: they do not keep their content where they show the backing
   * file. Default: no.
   */
  readonly changesSnapshots?: boolean | undefined
}

const OPTIONS = {
  format: requireText,
  node: () => undefined,
  compress: requireFlag,
  unsafe: requireFlag,
  changesSnapshots: requireFlag,
  onProgress: requireCallback,
  signal: requireSignal,
}

const requireName = expects(
  'the name of a file, or null',
  (value) => value === null || (typeof value === 'string' && value !== ''),
)

/** @throws BlockError EINVAL for wrong options; what `rebaseNode` throws; the reason of the signal */
export async function rebaseImage(
  top: BlockNode,
  filename: string | null,
  options: RebaseOptions,
): Promise<void> {
  requireName(filename, 'filename')
  requireOptions(options, 'options', OPTIONS)
  const { unsafe, onProgress, signal, ...how } = options
  if (unsafe) return skipFilters(top).changeBackingFile(filename, how.format)
  await runJob((control) => rebaseNode(top, { filename, ...how }, control), { onProgress, signal })
}
