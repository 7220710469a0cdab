/** What footers begin with, and where they may begin: all that recognizing an image takes. */
import { alignDown, alignUp, SECTOR, viewOf } from '@vmblock/block-core/driver'

/** Bytes of a footer. Some old programs wrote fixed images without its last byte, which is zero. */
export const FOOTER_BYTES = 512
/** Bytes of the shortest footer. */
export const SHORT_FOOTER_BYTES = 511

/** `conectix`, as a number. */
export const COOKIE = 0x636f6e6563746978n

/** Whether there is a footer at that place. */
export const hasCookie = (bytes: Uint8Array, at = 0): boolean =>
  bytes.length - at >= 8 && viewOf(bytes).getBigUint64(at) === COOKIE

/**
 * Where in the last bytes of a file, `size` of them, a footer may begin: files may be a byte short, cut off, or padded to
 * whole sectors.
 */
export const footerPlaces = (size: number): number[] =>
  [
    size - FOOTER_BYTES,
    size - SHORT_FOOTER_BYTES,
    alignUp(size, SECTOR) - FOOTER_BYTES,
    alignDown(size, SECTOR) - FOOTER_BYTES,
  ].filter((at, i, all) => at >= 0 && all.indexOf(at) === i)
