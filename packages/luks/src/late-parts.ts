/** What opening, making and amending images needs, as one file that is loaded late. */
export { amendOptions } from './amend.ts'
export { luksCreation } from './create.ts'
export { openImage } from './open-image.ts'
