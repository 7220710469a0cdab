/** Zero writes and discards, cut to a driver's limits, with a fallback for drivers without zero writes. */
import { alignDown, alignUp } from '../base/bits.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { BlockLimits, WriteFlags } from '../contract/requests.ts'

/** Zeroes written as data go out in pieces of at most this many bytes. */
const ZERO_BUFFER = 1024 * 1024

interface ZeroWriter {
  readonly limits: BlockLimits
  readonly writeZeroes: ((offset: number, bytes: number, flags: WriteFlags) => Promise<void>) | undefined
  write(offset: number, data: Uint8Array): Promise<void>
}

/**
 * Zeroes a range: by the driver's own zero writes, in pieces that respect its limits, and by writing zero
 * bytes if the driver reports ENOTSUP.
 *
 * @throws BlockError ENOTSUP with `noFallback` if the driver cannot write zeroes itself
 */
export async function writeZeroesInPieces(
  writer: ZeroWriter,
  offset: number,
  bytes: number,
  flags: WriteFlags,
): Promise<void> {
  const { limits } = writer
  const alignment = Math.max(limits.writeZeroesAlignment, limits.requestAlignment)
  const longest = Math.max(alignment, alignDown(Math.min(limits.maxWriteZeroes, bytes), alignment))
  const end = offset + bytes
  for (let at = offset; at < end; ) {
    // A piece ends at the next multiple of the alignment, then runs in whole multiples, then takes the rest.
    const toBoundary = alignUp(at, alignment) - at
    let piece = Math.min(end - at, toBoundary > 0 ? toBoundary : longest)
    if (toBoundary === 0 && piece > alignment) piece = alignDown(piece, alignment)
    if (!(await tryDriver(writer, at, piece, flags))) {
      if (flags.noFallback)
        throw new BlockError('ENOTSUP', 'the driver cannot write zeroes without a fallback')
      await writeZeroBytes(writer, at, piece)
    }
    at += piece
  }
}

async function tryDriver(writer: ZeroWriter, at: number, bytes: number, flags: WriteFlags): Promise<boolean> {
  if (!writer.writeZeroes) return false
  try {
    await writer.writeZeroes(at, bytes, flags)
    return true
  } catch (error) {
    if (isBlockError(error, 'ENOTSUP')) return false
    throw error
  }
}

async function writeZeroBytes(writer: ZeroWriter, offset: number, bytes: number): Promise<void> {
  const { maxTransfer, requestAlignment } = writer.limits
  const longest = Math.max(requestAlignment, alignDown(Math.min(ZERO_BUFFER, maxTransfer), requestAlignment))
  const zeroes = new Uint8Array(Math.min(longest, bytes))
  for (let done = 0; done < bytes; done += zeroes.length) {
    await writer.write(offset + done, zeroes.subarray(0, Math.min(zeroes.length, bytes - done)))
  }
}

/**
 * Discards a range in pieces that respect a driver's limits. Ends that do not fill an alignment unit are
 * passed on as well (as in QEMU: a driver may combine partial discards); ENOTSUP is not an error.
 */
export async function discardInPieces(
  discard: (offset: number, bytes: number) => Promise<void>,
  limits: BlockLimits,
  offset: number,
  bytes: number,
): Promise<void> {
  const { requestAlignment } = limits
  const alignment = Math.max(limits.discardAlignment, requestAlignment)
  const longest = Math.max(alignment, alignDown(Math.min(limits.maxDiscard, bytes), alignment))
  // Whole request blocks only: a discard never becomes a read-modify-write.
  const start = alignUp(offset, requestAlignment)
  const end = requestAlignment === 1 ? offset + bytes : alignDown(offset + bytes, requestAlignment)
  for (let at = start; at < end; ) {
    const toBoundary = alignUp(at, alignment) - at
    let piece = Math.min(end - at, toBoundary > 0 ? toBoundary : longest)
    if (toBoundary === 0 && piece > alignment) piece = alignDown(piece, alignment)
    try {
      await discard(at, piece)
    } catch (error) {
      if (!isBlockError(error, 'ENOTSUP')) throw error
    }
    at += piece
  }
}
