/** The part of its file that a raw disk shows: the options `offset` and `size`. */
import { alignUp, type BlockChild, SECTOR, size } from '@vmblock/block-core/driver'

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

/** Bytes that a window shows now. It gets shorter if another program shrinks the file. */
export function windowSize({ offset, size }: RawWindow, file: BlockChild): number {
  const available = Math.max(fileSize(file) - offset, 0)
  return size === undefined ? alignUp(available, SECTOR) : Math.min(size, available)
}
