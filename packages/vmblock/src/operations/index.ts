/** What most pages need after they have started, if at all: loaded with the first call. */
export { checkSource } from './check-source.ts'
export { convertDisk } from './convert.ts'
export { createDisk } from './create.ts'
export { describeSource } from './describe-source.ts'
export { measureDisk } from './measure.ts'
