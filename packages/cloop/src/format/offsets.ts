/** The table of a cloop file: where each block is. */
import { BlockError, viewOf } from '@vmblock/block-core/driver'
import { ENTRY } from './header.ts'

/** Bytes of the largest compressed block, as in QEMU: twice that of a block. */
const MAX_COMPRESSED = 128n * 2n ** 20n
/** Offsets beyond this would not be exact. */
const MAX_OFFSET = 2n ** 53n - 1n

/**
 * Checks the table, and reads it.
 *
 * @returns the offset of each block in the file, and of the end of the last, in bytes
 * @throws BlockError EINVAL in QEMU's words; EFBIG for offsets that a number cannot hold
 */
export function parseOffsets(table: Uint8Array): Float64Array {
  const view = viewOf(table)
  const offsets = new Float64Array(table.length / ENTRY)
  let before = 0n
  for (let i = 0; i < offsets.length; i++) {
    const offset = view.getBigUint64(i * ENTRY)
    if (i > 0 && offset < before)
      throw new BlockError(
        'EINVAL',
        `offsets not monotonically increasing at index ${i}, image file is corrupt`,
      )
    if (i > 0 && offset - before > MAX_COMPRESSED)
      throw new BlockError('EINVAL', `invalid compressed block size at index ${i}, image file is corrupt`)
    if (offset > MAX_OFFSET) throw new BlockError('EFBIG', `the offset at index ${i} exceeds 2^53-1`)
    offsets[i] = Number(offset)
    before = offset
  }
  return offsets
}
