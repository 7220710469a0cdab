/**
 * QEMU's disk image utility as a function: its command lines, texts and exit statuses, over any drivers.
 * @module
 */
export type { Services } from './command.ts'
export { type DriverSurroundings, type Drivers, nodeDrivers } from './drivers.ts'
export { main, VERSION } from './main.ts'
export type { Streams } from './output.ts'
