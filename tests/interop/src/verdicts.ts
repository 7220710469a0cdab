/**
 * One check or repair of a damaged image, by either side, in a comparable form.
 * @module
 */
import {
  type BlockNode,
  type CheckFinding,
  type CheckReport,
  messageOf,
  type RepairMode,
} from '@vmblock/block-core'
import { errorText } from '@vmblock/block-core/late'
import type { Bench } from '../../support/real-qemu.ts'
import { type Counts, countsIn, countsOf, realCheck } from './agreement.ts'
import { openOurs } from './ours.ts'

/** The result of a check. */
export interface Verdict {
  /** Why the image could not be opened, or the check not completed. */
  readonly failure?: string
  /** The signal that killed QEMU. */
  readonly crash?: string
  /** The findings, in order. */
  readonly lines: readonly string[]
  readonly counts: Counts
}

const NOTHING: Counts = {}

/** The beginning of QEMU's own lines, which are not findings; the last of them says why it failed. */
const PREFIX = /^qemu-img: (Could not open '[^']*': )?/

/** Our offsets and refcounts are numbers: values beyond the largest exact one are invalid in any case. */
const rounded = (line: string): string =>
  line
    .replace(/(0x[0-9a-f]{14,16})( or more)?/g, (_, word: string) =>
      Number(word) < 2 ** 56 ? `0x${Number(word).toString(16)}` : '0x100000000000000 or more',
    )
    .replace(/refcount=\d{17,}/, 'refcount=2^53 or more')

/** Whether a line announces corruption, which happens once, and at different steps. */
const isEvent = (line: string): boolean => /^qcow2: (Image is corrupt|Marking image as corrupt): /.test(line)

const findings = (lines: readonly string[]): string[] =>
  lines
    // A finding that ends the check.
    .map((line) => line.replace(/^qemu-img: (?=ERROR )/, ''))
    .filter((line) => line !== '' && !PREFIX.test(line) && !isEvent(line))
    .map(rounded)

/** QEMU's verdict. With `repair` the image is repaired, and checked again if something was. */
export function theirVerdict(bench: Bench, name: string, repair?: RepairMode): Verdict {
  const outcome = realCheck(bench, name, 'qcow2', ...(repair ? ['-r', repair] : []))
  const all = outcome.stderr.split('\n').filter((line) => line !== '')
  const lines = findings(all)
  const failure = all.findLast((line) => PREFIX.test(line))?.replace(PREFIX, '')
  // From then on QEMU writes nothing more, although its counts do not show it.
  const stopped = all.find((line) => line.startsWith('qcow2: Marking image as corrupt'))
  if (outcome.status < 0) return { crash: all.at(-1) ?? 'a signal', lines, counts: NOTHING }
  if (!outcome.stdout.startsWith('{')) return { failure: failure ?? 'no report', lines, counts: NOTHING }
  if (stopped !== undefined) return { failure: stopped, lines, counts: countsIn(outcome) }
  return { lines, counts: countsIn(outcome) }
}

/** Our verdict, by the same steps. */
export async function ourVerdict(bench: Bench, name: string, repair?: RepairMode): Promise<Verdict> {
  const lines: string[] = []
  const report = ({ message, silent }: CheckFinding): void => {
    if (!silent) lines.push(...findings(message.split('\n')))
  }
  let node: BlockNode
  try {
    node = await openOurs(bench.path(name), 'qcow2', { checkMode: true, readOnly: repair === undefined })
  } catch (error) {
    // Offsets that no number holds are among those that QEMU calls invalid.
    const reason = messageOf(error).replace(/^Could not open '[^']*': /, '')
    return { failure: reason.replace('exceeds 2^53-1', 'invalid'), lines, counts: NOTHING }
  }
  try {
    let result: CheckReport = await node.check({ report, ...(repair && { repair }) })
    const { corruptionsFixed, leaksFixed } = result
    if (corruptionsFixed > 0 || leaksFixed > 0)
      result = { ...(await node.check({ report })), corruptionsFixed, leaksFixed }
    return { lines, counts: countsOf(result) }
  } catch (error) {
    return { failure: `Check failed: ${errorText(error)}`, lines, counts: NOTHING }
  } finally {
    await node.close()
  }
}

/** Whether nothing is wrong with an image. */
export const isSoundVerdict = ({ failure, crash, counts }: Verdict): boolean =>
  failure === undefined &&
  crash === undefined &&
  ['corruptions', 'leaks', 'check-errors'].every((key) => (counts[key] ?? 0) === 0)
