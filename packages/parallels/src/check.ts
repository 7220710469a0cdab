/**
 * The consistency check. As in QEMU (block/parallels.c): the image was closed, clusters lie inside the file, and nothing
 * lies behind them. Besides, no two share a place, and none lies in front of the data or between two places.
 */
import { checkFinding } from '@vmblock/block-core/check'
import {
  alignUp,
  type CheckFinding,
  type CheckOptions,
  type CheckReport,
  divUp,
  type FindingWord,
  type JobControl,
  messageOf,
  NO_BLOCK,
  pause,
  SECTOR,
} from '@vmblock/block-core/driver'
import { HEADER_BYTES } from './format/header.ts'
import type { Image } from './image.ts'

/** Entries that are checked in one turn of the event loop. */
const TURN = 2 ** 16

/** What the BAT is like. */
interface Survey {
  /** Clusters outside the file: their entries can be cleared. */
  readonly outside: number[]
  /** What cannot be repaired. */
  readonly findings: CheckFinding[]
  readonly allocated: number
  readonly fragmented: number
  /** Where the last cluster ends, in bytes. */
  readonly end: number
}

/**
 * Checks an image on which no request runs. A repair clears entries that point outside the file, cuts off what is behind
 * the last cluster, and removes the mark if nothing else is wrong.
 *
 * @param isWritable the image may be written: entries that are not on disk yet are brought there
 */
export async function checkImage(
  image: Image,
  isWritable: boolean,
  { repair, report: told = () => undefined }: CheckOptions,
  control: JobControl,
): Promise<CheckReport> {
  if (isWritable) await image.map.flush()
  const { outside, findings, allocated, fragmented, end } = await survey(image)
  const fixesErrors = repair === 'all'
  const report: Required<CheckReport> = {
    corruptions: 0,
    leaks: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    checkErrors: 0,
    imageEndOffset: Math.max(end, image.extensionEnd),
    totalClusters: image.header.entries,
    allocatedClusters: allocated,
    fragmentedClusters: fragmented,
    compressedClusters: 0,
  }
  const corruption = (fixes: boolean): void => {
    report[fixes ? 'corruptionsFixed' : 'corruptions']++
  }
  const word = (fixes: boolean): string => (fixes ? 'Repairing' : 'ERROR')

  const closes = fixesErrors && findings.length === 0
  const { isInUse } = image
  if (isInUse) {
    const message = `${word(closes)} image was not closed correctly`
    const owner = { structure: 'header', offset: 0 } as const
    told(checkFinding('not-closed', message, { owner, repaired: closes }))
    corruption(closes)
  }
  for (const index of outside) {
    const message = `${word(fixesErrors)} cluster ${index} is outside image`
    told(findingOf(image, index, 'reference-outside-file', message, fixesErrors))
    corruption(fixesErrors)
  }
  for (const finding of findings) {
    told(finding)
    corruption(false)
  }
  if (fixesErrors && outside.length > 0) {
    const held = control.checkpoint()
    if (held) await held
    for (const index of outside) image.map.link(index, NO_BLOCK)
    await image.map.flush()
  }
  await checkEnd(image, report, repair !== undefined, told)
  if (closes && isInUse && report.checkErrors === 0) await image.markClosed()
  return report
}

/** Whether something lies behind the last cluster. While the image is in use here, that is reserved. */
async function checkEnd(
  image: Image,
  report: Required<CheckReport>,
  repairs: boolean,
  told: (finding: CheckFinding) => void,
): Promise<void> {
  const { file, header, isMarked } = image
  const offset = report.imageEndOffset
  const bytes = alignUp(file.size, SECTOR) - offset
  if (bytes <= 0 || isMarked) return
  const leaks = divUp(bytes, header.clusterSize)
  const message = `${repairs ? 'Repairing' : 'ERROR'} space leaked at the end of the image ${bytes}`
  told(checkFinding('leaked-cluster', message, { offset, bytes, repaired: repairs }))
  if (!repairs) {
    report.leaks += leaks
    return
  }
  try {
    await file.truncate(offset, { exact: true })
    await file.flush()
    report.leaksFixed += leaks
  } catch (error) {
    told(checkFinding('leaked-cluster', message, { offset, bytes }))
    told(checkFinding('repair-failed', messageOf(error)))
    report.leaks += leaks
    report.checkErrors++
  }
}

async function survey(image: Image): Promise<Survey> {
  const { offsets, header } = image
  const { clusterSize, dataStart, isDataAligned } = header
  const outside: number[] = []
  const findings: CheckFinding[] = []
  const inside: number[] = []
  let [fragmented, previous, end] = [0, 0, dataStart]
  for (let index = 0; index < offsets.length; index++) {
    const turning = index % TURN === TURN - 1 ? pause() : undefined
    if (turning) await turning
    const offset = offsets[index]!
    if (offset === NO_BLOCK || !image.isInside(offset)) {
      if (offset !== NO_BLOCK) outside.push(index)
      previous = 0
      continue
    }
    if (previous !== 0 && previous + clusterSize !== offset) fragmented++
    previous = offset
    end = Math.max(end, offset + clusterSize)
    inside.push(index)
    if (offset < dataStart)
      findings.push(
        findingOf(image, index, 'reference-into-header', `ERROR cluster ${index} is in front of the data`),
      )
    else if (isDataAligned && (offset - dataStart) % clusterSize !== 0)
      findings.push(findingOf(image, index, 'unaligned-cluster', `ERROR cluster ${index} is not aligned`))
  }
  const allocated = inside.length
  inside.sort((a, b) => offsets[a]! - offsets[b]! || a - b)
  for (let at = 1; at < allocated; at++) {
    const [before, index] = [inside[at - 1]!, inside[at]!]
    if (offsets[before]! + clusterSize <= offsets[index]!) continue
    const message = `ERROR cluster ${index} overlaps with cluster ${before}`
    findings.push(findingOf(image, index, 'shared-cluster', message))
  }
  return { outside, findings, allocated, fragmented, end }
}

function findingOf(
  { offsets, header }: Image,
  index: number,
  what: FindingWord,
  message: string,
  repaired = false,
): CheckFinding {
  const { clusterSize } = header
  return checkFinding(what, message, {
    offset: offsets[index]!,
    bytes: clusterSize,
    owner: { structure: 'l1-table', offset: HEADER_BYTES, index, guestOffset: index * clusterSize },
    repaired,
  })
}
