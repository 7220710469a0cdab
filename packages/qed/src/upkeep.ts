/** What few openings need, as one file that is loaded late: checks, repairs, and changes of the header. */
export { checkImage } from './check.ts'
export { changeBackingFile, truncate } from './header-changes.ts'
