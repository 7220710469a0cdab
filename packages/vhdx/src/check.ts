/** The check: each entry of the block allocation table, and whether blocks overlap. Only a log can be repaired, by replaying it. */
import { checkFinding } from '@vmblock/block-core/check'
import type { CheckOptions, CheckReport, FindingWord, JobControl } from '@vmblock/block-core/driver'
import { misplacedBlock, overlappingBlocks } from './block-places.ts'
import { State } from './format/bat.ts'
import type { Image } from './image.ts'
import { eachBlock } from './read-tables.ts'

/**
 * Checks an image on which no request runs, and whose table on disk is up to date.
 *
 * @param wasReplayed a log has just been replayed: that counts as a repair, as in QEMU
 */
export async function checkImage(
  { tables }: Image,
  { report = () => undefined }: CheckOptions,
  control: JobControl,
  wasReplayed: boolean,
): Promise<CheckReport> {
  let corruptions = 0
  const tell = (what: FindingWord, message: string, offset?: number): void => {
    corruptions++
    const isExact = offset !== undefined && offset <= Number.MAX_SAFE_INTEGER
    report(checkFinding(what, message, isExact ? { offset, bytes: tables.disk.blockSize } : {}))
  }
  const held = control.checkpoint()
  if (held) await held
  const { hasParent } = tables.disk
  await eachBlock(tables, ({ state, offset, hasReserved }, index, block) => {
    const entry = `VHDX BAT entry ${index}`
    const hasData = state === State.fullyPresent || (state === State.partiallyPresent && hasParent)
    if (hasReserved) tell('reserved-bits', `${entry} has reserved bits set.`)
    if (hasData)
      for (const wrong of misplacedBlock(tables, block, offset)) tell(wrong.what, wrong.message, wrong.offset)
    else if (tables.unreadable.has(block)) tell('reserved-bits', `${entry} has the invalid state ${state}.`)
  })
  for (const [first, second] of overlappingBlocks(tables))
    tell('shared-cluster', `VHDX blocks ${first} and ${second} overlap in the file.`, tables.offsets[second])
  control.report(1, 1)
  return {
    corruptions,
    leaks: 0,
    corruptionsFixed: wasReplayed ? 1 : 0,
    leaksFixed: 0,
    checkErrors: 0,
  }
}
