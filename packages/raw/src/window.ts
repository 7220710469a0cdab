/**
 * The part of its file that a raw disk shows: the options `offset` and `size`, and QEMU's checks of them
 * (raw_apply_options in block/raw-format.c).
 */
import { alignUp, type BlockChild, BlockError, type OptionValues, SECTOR, size } from '@vmblock/block-core'

/** Runtime options of the raw driver, in bytes of the file. */
export const rawOptions = {
  /** Where the disk starts. */
  offset: size('', 0),
  /** The size of the disk. */
  size: size(),
}

/** The part of a file that a raw disk shows. All in bytes. */
export interface RawWindow {
  readonly offset: number
  /** Undefined: everything from `offset` to the end of the file, which may move. */
  readonly size: number | undefined
}

/**
 * The size of the file for the block layer, in bytes: whole sectors, as in QEMU. The missing part of the last
 * sector reads as zeroes; it can be written if the file can grow.
 */
export const fileSize = (file: BlockChild): number => alignUp(file.size, SECTOR)

/**
 * Takes the window from the options.
 *
 * @throws BlockError EINVAL, in QEMU's words, if it is not inside the file, or not whole sectors
 */
export function checkedWindow(
  { offset, size }: OptionValues<typeof rawOptions>,
  file: BlockChild,
  node: string,
): RawWindow {
  const available = fileSize(file)
  const refuse = (message: string): BlockError => new BlockError('EINVAL', message, { node })
  if (offset > available)
    throw refuse(`Offset (${offset}) cannot be greater than size of the containing file (${available})`)
  if (size !== undefined && available - offset < size)
    // The two spaces are QEMU's, and scripts compare them.
    throw refuse(
      `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the ` +
        ` actual size of the containing file (${available})`,
    )
  if (size !== undefined && size % SECTOR !== 0) throw refuse(`Specified size is not multiple of ${SECTOR}`)
  return { offset, size }
}

/** Bytes that a window shows now. It gets shorter if another program shrinks the file. */
export function windowSize({ offset, size }: RawWindow, file: BlockChild): number {
  const available = Math.max(fileSize(file) - offset, 0)
  return size === undefined ? alignUp(available, SECTOR) : Math.min(size, available)
}
