/** What few openings need, as one file that is loaded late: checks, repairs, and changes of the size. */
export { checkImage } from './check.ts'
export { truncate } from './resize.ts'
