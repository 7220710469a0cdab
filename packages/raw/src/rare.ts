/**
 * What few raw disks need, loaded late: the guard of images whose format was guessed, and windows, which show a part of a file.
 *
 * Only types are imported, so that a page that loads this late does not start with more files.
 */
import type { BlockErrorCode } from '@vmblock/block-core/driver'
import type { RawWindow } from './window.ts'

export { ProbeGuard, probedWarning } from './probe-guard.ts'

const SECTOR = 512

/** Makes an error of the disk. */
export type Fail = (code: BlockErrorCode, message: string) => Error

/**
 * Checks a window in QEMU's words (raw_apply_options in block/raw-format.c).
 *
 * @param available size of the file, in bytes
 * @throws BlockError EINVAL if it is not inside the file, or not whole sectors
 */
export function requireInside({ offset, size }: RawWindow, available: number, fail: Fail): void {
  if (offset > available)
    throw fail(
      'EINVAL',
      `Offset (${offset}) cannot be greater than size of the containing file (${available})`,
    )
  if (size === undefined) return
  // The two spaces are QEMU's, and scripts compare them.
  if (available - offset < size)
    throw fail(
      'EINVAL',
      `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the ` +
        ` actual size of the containing file (${available})`,
    )
  if (size % SECTOR !== 0) throw fail('EINVAL', `Specified size is not multiple of ${SECTOR}`)
}

/**
 * Checks whether a window may get another size.
 *
 * @param bytes the new size of the disk
 * @throws BlockError ENOTSUP if its size is fixed; EINVAL if it would end beyond 2^53
 */
export function requireResizable({ offset, size }: RawWindow, bytes: number, fail: Fail): void {
  if (size !== undefined) throw fail('ENOTSUP', 'Cannot resize fixed-size raw disks')
  if (offset > Number.MAX_SAFE_INTEGER - bytes)
    throw fail('EINVAL', 'Disk size too large for the chosen offset')
}
