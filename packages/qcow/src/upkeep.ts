/** What few openings need, as one file that is loaded late. */
export { qcowCreation } from './create.ts'
export { makeEmpty } from './make-empty.ts'
