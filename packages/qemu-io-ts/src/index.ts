/**
 * qemu-io as a function: its command lines and texts, over any drivers. Here `abort` crashes the open image and ends the
 * session; only in the program itself does it kill the process.
 * @module
 */
export {
  bufferedOutput,
  type DriverSurroundings,
  FORMATS,
  programEnvironment,
  type TextOutput,
} from '@vmblock/cli'
export { type CommandInput, main, type Services, type Streams } from './main.ts'
export { cutLines } from './session/lines.ts'
