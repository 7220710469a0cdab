/**
 * What few raw disks need, loaded late: the guard of images whose format was guessed, and the checks of a window.
 *
 * Only types are imported, so that a page that loads this late does not start with more files.
 */
import type { RawWindow } from './window.ts'

export { ProbeGuard, probedWarning } from './probe-guard.ts'

const SECTOR = 512

/**
 * Why a window is refused, in QEMU's words (raw_apply_options in block/raw-format.c).
 *
 * @param available size of the file, in bytes
 * @returns undefined: it lies inside the file, in whole sectors
 */
export function problemOf({ offset, size }: RawWindow, available: number): string | undefined {
  if (offset > available)
    return `Offset (${offset}) cannot be greater than size of the containing file (${available})`
  if (size === undefined) return undefined
  // The two spaces are QEMU's, and scripts compare them.
  if (available - offset < size)
    return (
      `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the ` +
      ` actual size of the containing file (${available})`
    )
  return size % SECTOR === 0 ? undefined : `Specified size is not multiple of ${SECTOR}`
}
