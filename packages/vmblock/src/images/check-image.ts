/** Checking an image: what was found as data, bounded, beside the counts of the block layer. */
import type { BlockNode, CheckFinding, CheckReport, RepairMode } from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import {
  oneOfWords,
  requireCallback,
  requireCount,
  requireOptions,
  requireSignal,
} from '@vmblock/block-core/driver'
import { type JobSettings, runJob } from '../jobs/run-job.ts'

/** How an image is checked. Progress is in tables. */
export interface DiskCheckOptions extends JobSettings {
  /**
   * `leaks`: gives back what nothing refers to. `all`: repairs everything that can be repaired. Default: nothing is
   * written.
   */
  readonly repair?: RepairMode | false | undefined
  /** Most findings to return; the others are counted. Default: 10,000. */
  readonly maxFindings?: number | undefined
}

/** What a check found and did. The counts are those after a repair. */
export interface CheckResult extends CheckReport {
  /** Each finding once, in the order in which they were made. */
  readonly findings: readonly CheckFinding[]
  /** How many findings there were beyond `maxFindings`. */
  readonly omittedFindings: number
}

/** Checks of {@link DiskCheckOptions}. */
export const CHECK_OPTIONS = {
  repair: oneOfWords('leaks', 'all', false),
  maxFindings: requireCount,
  onProgress: requireCallback,
  signal: requireSignal,
}

/** @throws BlockError EINVAL for wrong options; what the check of the node throws; the reason of the signal */
export async function checkImage(node: BlockNode, options: DiskCheckOptions): Promise<CheckResult> {
  requireOptions(options, 'options', CHECK_OPTIONS)
  const { repair = false, maxFindings, ...settings } = options
  const list = new FindingList(maxFindings)
  const report = (finding: CheckFinding): void => list.add(finding)
  const counts = await runJob(async (control) => {
    const first = await node.check({ repair, report }, control)
    const { corruptionsFixed, leaksFixed } = first
    if (corruptionsFixed === 0 && leaksFixed === 0) return first
    // A repair may uncover more: what is left is seen by looking again, as qemu-img does.
    return { ...(await node.check({ report }, control)), corruptionsFixed, leaksFixed }
  }, settings)
  return { ...counts, findings: list.findings, omittedFindings: list.omitted }
}
