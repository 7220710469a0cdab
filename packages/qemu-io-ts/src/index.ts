/**
 * qemu-io as a library: the program as a function, and the session behind it. Here `abort` crashes the open
 * image and ends the session; only in the program itself does it kill the process.
 * @module
 */
export {
  bufferedOutput,
  type DriverSurroundings,
  Failure,
  FORMATS,
  programEnvironment,
  type TextOutput,
  VERSION,
} from '@vmblock/cli'
export { COMMANDS } from './commands/index.ts'
export { type CommandInput, main, type Services, type Streams } from './main.ts'
export {
  type AnyCommand,
  type Call,
  type Command,
  defineCommand,
  type Outcome,
  Stop,
} from './session/command.ts'
export { DEFAULT_MODES, type ImageRequest, type OpenModes, openImage } from './session/image.ts'
export { Interpreter } from './session/interpreter.ts'
export { cutLines } from './session/lines.ts'
export type { CacheFlags, Image } from './session/services.ts'
export { type Ending, Session, type SessionServices, type SessionSettings } from './session/session.ts'
