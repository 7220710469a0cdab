/** What the README of the disks for v86 takes for granted: an emulator with its other options. */
export { others, V86 } from './embedding.ts'
