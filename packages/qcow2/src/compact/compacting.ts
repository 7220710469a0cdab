/** What changes where the image file holds what: loaded when it is asked for. */

export { openImage as start } from '../open/start.ts'
export { changeRefcountWidth } from './change-refcounts.ts'
export { compactImage } from './compact.ts'
