/** What few requests need, loaded with the first of them. */
export { checkImage } from './check-image.ts'
export { commitImage } from './commit-image.ts'
export { compactImage } from './compact-image.ts'
export { describe } from './describe.ts'
