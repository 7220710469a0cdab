/** Blocks whose data lies together in a file. */
import type { Codec, Extent } from './codec.ts'

/** Bytes of the buffers for the data, unless more is asked for. */
const BUFFER = 2 ** 18
/** The most buffers that are kept for the next reads: what eight requests of 2 MiB need. */
const SPARE = 40

/**
 * Buffers that no read has: their content is gone at once, and new memory for each read would take as long as the read.
 */
const spare: Uint8Array[] = []

/** End of a block's data, in bytes. */
const endOf = ({ hostOffset, compressedBytes }: Extent): number => hostOffset + compressedBytes

/** Makes `readPacked` of a codec. @param decompressInto fills the buffer with the block in the data, which stays as it is meanwhile */
export const packed =
  (decompressInto: (data: Uint8Array, into: Uint8Array) => Promise<void>): Codec['readPacked'] =>
  async (extents, read, into) => {
    const start = extents[0]!.hostOffset
    const bytes = endOf(extents.at(-1)!) - start
    const buffer = (bytes <= BUFFER && spare.pop()) || new Uint8Array(Math.max(bytes, BUFFER))
    try {
      const all = buffer.subarray(0, bytes)
      await read(start, all)
      const size = into.length / extents.length
      const blocks = extents.map((extent, i) =>
        decompressInto(
          all.subarray(extent.hostOffset - start, endOf(extent) - start),
          into.subarray(i * size, (i + 1) * size),
        ),
      )
      // Buffers are free again once this ends: all must have ended, even if one fails.
      for (const each of await Promise.allSettled(blocks)) if (each.status === 'rejected') throw each.reason
    } finally {
      if (buffer.length === BUFFER && spare.length < SPARE) spare.push(buffer)
    }
  }
