/** The part of a disk that a stream or a walk covers: checked when it is asked for, not at the first chunk. */
import { type AbortSignalLike, BlockError } from '@vmblock/block-core'
import { type Check, requireCount, requireOptions, requireSignal } from '@vmblock/block-core/driver'

/** Part of a disk. */
export interface RangeOptions {
  /** Where it begins, in bytes. Default: 0. */
  readonly start?: number | undefined
  /** Where it ends, in bytes: the first offset behind it. Default: the size of the disk. */
  readonly end?: number | undefined
  /** Ends the work at once; its reason is the error. */
  readonly signal?: AbortSignalLike | undefined
}

/** A checked range, in bytes. */
export interface Range {
  readonly start: number
  readonly end: number
}

/**
 * Checks the options of something that works on a range of a disk of `size` bytes.
 *
 * @param more checks of other options
 * @throws BlockError EINVAL that names the option
 */
export function rangeOf(
  options: RangeOptions,
  size: number,
  more: Readonly<Record<string, Check>> = {},
): Range {
  requireOptions(options, 'options', {
    start: requireCount,
    end: requireCount,
    signal: requireSignal,
    ...more,
  })
  const { start = 0, end = size } = options
  requireWithin(start, end, size)
  return { start, end }
}

/** @throws BlockError EINVAL that names the bound which is outside the disk, or before the other */
export function requireWithin(start: number, end: number, size: number): void {
  if (end > size) throw new BlockError('EINVAL', `Parameter 'end' is ${end}, and the disk ends at ${size}`)
  if (start > end) throw new BlockError('EINVAL', `Parameter 'start' is ${start}, behind the end at ${end}`)
}
