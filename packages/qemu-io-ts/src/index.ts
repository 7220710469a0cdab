/**
 * qemu-io as a library: the program as a function, and the session behind it. Here `abort` crashes the open
 * image and ends the session; only in the program itself does it kill the process.
 * @module
 */
export {
  bufferedOutput,
  type DriverSurroundings,
  FORMATS,
  nodeEnvironment,
  type TextOutput,
  VERSION,
} from '@vmblock/cli'
export { type AnyCommand, type Call, type Command, defineCommand, type Outcome, Stop } from './command.ts'
export { COMMANDS } from './commands/index.ts'
export {
  type CacheFlags,
  DEFAULT_MODES,
  type Image,
  type ImageRequest,
  type OpenModes,
  openImage,
} from './image.ts'
export { cutLines } from './lines.ts'
export { type CommandInput, main, type Services, type Streams } from './main.ts'
export { type Ending, Session, type SessionServices, type SessionSettings } from './session.ts'
