/** What writes compressed clusters: loaded with the first. */
export { openImage as start } from '../open/start.ts'
export { writeCompressed } from './write-compressed.ts'
