/**
 * After a turn all have to agree: both checkers find nothing and count the same clusters, and both sides read
 * the contents of the model.
 * @module
 */
import { createHash } from 'node:crypto'
import type { CheckReport } from '@vmblock/block-core'
import type { Bench, Outcome } from '../../support/real-qemu.ts'
import { checkOurs, contentOf } from './ours.ts'
import { requireEqual } from './turns.ts'

/** The counts of a check, by their names in `qemu-img check --output=json`; zeroes are left out. */
export type Counts = Readonly<Record<string, number>>

/** Our counts under QEMU's names. */
export function countsOf(report: CheckReport): Counts {
  const all: Record<string, number | undefined> = {
    'check-errors': report.checkErrors,
    'image-end-offset': report.imageEndOffset,
    corruptions: report.corruptions,
    leaks: report.leaks,
    'corruptions-fixed': report.corruptionsFixed,
    'leaks-fixed': report.leaksFixed,
    'total-clusters': report.totalClusters,
    'allocated-clusters': report.allocatedClusters,
    'fragmented-clusters': report.fragmentedClusters,
    'compressed-clusters': report.compressedClusters,
  }
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, number] => (entry[1] ?? 0) !== 0),
  )
}

/** QEMU's counts. @throws Error if there are none, for example because the image could not be opened */
export function countsIn(outcome: Outcome): Counts {
  if (!outcome.stdout.startsWith('{'))
    throw new Error(`qemu-img check ends with ${outcome.status}: ${outcome.stderr}`)
  const parsed = JSON.parse(outcome.stdout) as Record<string, unknown>
  return Object.fromEntries(
    Object.entries(parsed).filter(
      (entry): entry is [string, number] => typeof entry[1] === 'number' && entry[1] !== 0,
    ),
  )
}

/** `qemu-img check` with its counts as JSON. */
export const realCheck = (bench: Bench, name: string, format: string, ...more: string[]): Outcome =>
  bench.attempt('qemu-img', 'check', '-f', format, '--output=json', ...more, name)

const differences = (ours: Counts, theirs: Counts): string[] =>
  [...new Set([...Object.keys(ours), ...Object.keys(theirs)])]
    .filter((key) => ours[key] !== theirs[key])
    .map((key) => `${key}: ours ${ours[key] ?? 0}, theirs ${theirs[key] ?? 0}`)

/** Checks that neither checker finds anything, and that they count the same clusters. */
export async function requireSound(bench: Bench, name: string, format = 'qcow2'): Promise<void> {
  const real = realCheck(bench, name, format)
  if (real.status !== 0)
    throw new Error(`qemu-img check ends with ${real.status}:\n${real.stderr}${real.stdout}`)
  const { report, lines } = await checkOurs(bench.path(name), undefined, format)
  const ours = countsOf(report)
  if (lines.length > 0) throw new Error(`our check, and not QEMU's, says:\n${lines.join('\n')}`)
  const different = differences(ours, countsIn(real))
  if (different.length > 0) throw new Error(`the checkers count differently: ${different.join('; ')}`)
}

/** Checks that the image holds exactly these bytes, as read by either side. */
export async function requireContent(
  bench: Bench,
  name: string,
  format: string,
  expected: Uint8Array,
): Promise<void> {
  requireEqual(await contentOf(bench.path(name), format), expected)
  bench.write('model.raw', expected)
  const { status, stdout, stderr } = bench.attempt(
    'qemu-img',
    'compare',
    '-f',
    format,
    '-F',
    'raw',
    name,
    'model.raw',
  )
  if (status !== 0 || stdout.includes('mismatch'))
    throw new Error(`qemu-img compare ends with ${status}: ${stdout}${stderr}`)
}

/** A digest of a file's contents; for files that must not change. */
export const digestOf = (bench: Bench, name: string): string =>
  createHash('sha1').update(bench.read(name)).digest('hex')
