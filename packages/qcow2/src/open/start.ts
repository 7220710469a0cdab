/**
 * What a page has loaded once it opens an image. Each part that is loaded late names it, so that bundlers keep it in one
 * piece: some cut what is loaded at start into a file for each set of parts that use the same modules.
 */
export { discard } from '../requests/discard.ts'
export { flushImage } from '../requests/flush.ts'
export { read } from '../requests/read.ts'
export { makeRoom } from '../requests/room.ts'
export { blockStatus } from '../requests/status.ts'
export { write } from '../requests/write.ts'
export { writeZeroes } from '../requests/zero.ts'
export { openImage } from './open-image.ts'
