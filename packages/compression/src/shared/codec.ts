/** What a codec is: the same for deflate and zstd, in Node.js and in pages. */

/** Compresses and decompresses blocks whose size is known: clusters of an image. */
export interface Codec {
  /**
   * The block in `data`. What lies behind its end is ignored: images record its length in whole sectors, and the
   * rest of the last may belong to another block.
   *
   * @param size bytes of the result; memory is bounded by it, whatever `data` claims
   * @throws Error (as a rejection) if `data` is broken, or gives less
   */
  decompress(data: Uint8Array, size: number): Promise<Uint8Array>
  /** `block` compressed, in fewer bytes than it has; undefined if that saves nothing. Several may run at once. */
  compress(block: Uint8Array): Promise<Uint8Array | undefined>
}
