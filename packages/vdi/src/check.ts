/**
 * The consistency check: no two blocks share a place, no place is outside the disk, and the header counts the places. As in
 * QEMU (block/vdi.c), which repairs nothing.
 */
import { checkFinding } from '@vmblock/block-core/check'
import {
  type CheckOptions,
  type CheckReport,
  type FindingDetails,
  type FindingWord,
  type JobControl,
  pause,
  ZERO_BLOCK,
} from '@vmblock/block-core/driver'
import { COUNT_AT } from './format/header.ts'
import { ENTRY, type Image } from './image.ts'
import { closeGaps } from './move.ts'
import { Places } from './places.ts'

/** Blocks that are checked in one turn of the event loop. */
const TURN = 2 ** 16

/** A running check. */
interface Check {
  readonly image: Image
  readonly report: CheckReport
  readonly tell: (what: FindingWord, message: string, details?: FindingDetails) => void
}

/**
 * Checks an image on which no request runs. A repair sets the count of the header right, and fills gaps between blocks with
 * the last ones, unless blocks overlap.
 *
 * @param isWritable the image may be written: entries that are not on disk yet are brought there
 */
export async function checkImage(
  image: Image,
  isWritable: boolean,
  { repair, report: told }: CheckOptions,
  control: JobControl,
): Promise<CheckReport> {
  if (isWritable) await image.map.flush()
  const report: CheckReport = { corruptions: 0, leaks: 0, corruptionsFixed: 0, leaksFixed: 0, checkErrors: 0 }
  const check: Check = {
    image,
    report,
    tell: (what, message, details) => told?.(checkFinding(what, message, details)),
  }
  const misplaced = image.misplacedMap
  if (misplaced !== undefined) {
    const { mapOffset, blocks } = image.header
    check.tell('reference-into-header', `ERROR: ${misplaced}`, { offset: mapOffset, bytes: blocks * ENTRY })
    report.corruptions++
  }
  const { places, count } = await checkMap(check)
  const isSound = report.corruptions === 0
  const { allocatedBlocks } = image.header
  // Too small a count makes QEMU overwrite a block; too large a one, and it leaves places unused.
  const isDangerous = allocatedBlocks < places.end
  const leaks = isDangerous ? 0 : Math.max(allocatedBlocks - count, 0)
  if (!isDangerous && leaks === 0) return report
  const repairs = isSound && (repair === 'all' || (repair === 'leaks' && !isDangerous))
  check.tell(
    isDangerous ? 'refcount-too-low' : 'leaked-cluster',
    messageFor(repairs, count, allocatedBlocks, places.end),
    { offset: COUNT_AT, bytes: 4, owner: { structure: 'header', offset: 0 }, repaired: repairs },
  )
  if (repairs) {
    image.becomeWritable()
    await closeGaps(image, control)
  }
  if (isDangerous) report[repairs ? 'corruptionsFixed' : 'corruptions']++
  else report[repairs ? 'leaksFixed' : 'leaks'] += leaks
  return report
}

function messageFor(repairs: boolean, count: number, counted: number, end: number): string {
  const word = repairs ? 'Repairing' : 'ERROR:'
  return count === counted
    ? `${word} ${count} blocks are allocated, and they reach up to index ${end - 1}`
    : `${word} allocated blocks mismatch, is ${count}, should be ${counted}`
}

/** What the map says is in use. */
interface Use {
  readonly places: Places
  /** Blocks with a place; those that share one count, too. */
  readonly count: number
}

/** Looks at each entry. */
async function checkMap({ image, report, tell }: Check): Promise<Use> {
  const { offsets, header } = image
  const places = new Places(header.blocks)
  let count = 0
  for (let block = 0; block < offsets.length; block++) {
    const turning = block % TURN === TURN - 1 ? pause() : undefined
    if (turning) await turning
    const offset = offsets[block]!
    if (offset <= ZERO_BLOCK) continue
    const place = image.placeOf(offset)
    const details = {
      offset,
      bytes: header.blockSize,
      owner: {
        structure: 'l1-table',
        offset: header.mapOffset,
        index: block,
        guestOffset: block * header.blockSize,
      },
    } as const
    if (!image.isPlace(place)) {
      tell('reference-outside-file', `ERROR: block index ${block} too large, is ${place}`, details)
      report.corruptions++
      continue
    }
    count++
    if (places.has(place)) {
      // QEMU prints the number of the place twice.
      tell('shared-cluster', `ERROR: block index ${place} also used by ${block}`, details)
      report.corruptions++
    } else places.add(place)
  }
  return { places, count }
}
