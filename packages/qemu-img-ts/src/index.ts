/**
 * QEMU's disk image utility as a function: its command lines, texts and exit statuses, over any drivers.
 * @module
 */
export {
  type DriverSurroundings,
  programEnvironment,
  type TextOutput,
} from '@vmblock/cli'
export type { Services } from './kit/command.ts'
export { main } from './main.ts'
