/** What a codec is: the same for deflate and zstd, in Node.js and in pages. */

/** The largest block, in bytes, that is done at once where nothing else is to be done: a fraction of a millisecond. */
export const SMALL = 2 ** 17

/** Where the data of a block is. */
export interface Extent {
  /** Bytes, from the start of the file. */
  readonly hostOffset: number
  /** Bytes. What lies behind the end of the block may belong to another one. */
  readonly compressedBytes: number
}

/** Fills `into` from `offset` of the file, in bytes. */
export type ReadData = (offset: number, into: Uint8Array) => Promise<void>

/** Compresses and decompresses blocks whose size is known: clusters of an image. */
export interface Codec {
  /**
   * The block in `data`. What lies behind its end is ignored: images record its length in whole sectors, and the
   * rest of the last may belong to another block. A small block is decompressed on the calling thread if no other is
   * being decompressed: that takes less time than to hand it to another thread.
   *
   * @param size bytes of the result; memory is bounded by it, whatever `data` claims
   * @throws Error (as a rejection) if `data` is broken, or gives less
   */
  decompress(data: Uint8Array, size: number): Promise<Uint8Array>
  /**
   * Reads and decompresses blocks whose data lies together, in one read of all of it; several at the same time, by other threads
   * where that takes less time.
   *
   * @param extents where the data of each is, in the order of offsets
   * @param read fills its buffer from an offset
   * @param into takes the blocks, of one size
   * @throws what `read` throws; Error as {@link decompress} does: when all have ended
   */
  readPacked(extents: readonly Extent[], read: ReadData, into: Uint8Array): Promise<void>
  /** `block` compressed, in fewer bytes than it has; undefined if that saves nothing. Several may run at once. */
  compress(block: Uint8Array): Promise<Uint8Array | undefined>
}
