/** What few openings need, as one file that is loaded late: checks, repairs, and bitmaps. */
export { bitmapsOf } from './bitmaps.ts'
export { checkImage } from './check.ts'
