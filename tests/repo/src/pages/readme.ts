/** What README takes for granted: an emulator with its other options. */
export { others, V86 } from './embedding.ts'
