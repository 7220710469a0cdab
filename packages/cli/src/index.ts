/**
 * Code that only the programs share: the kit of commands, formatting of text and streams, and the list of drivers.
 * @module
 */

export { filenameToOptions } from '@vmblock/block-core/node'
export { completionScript, SHELLS } from './completion/shells.ts'
export { type DriverSurroundings, FORMATS, programEnvironment } from './drivers.ts'
export { CACHE_MODES, type CacheMode, cacheMode } from './kit/cache-modes.ts'
export { type CommandTable, oneImage, type ProgramTable, usageLine } from './kit/command.ts'
export { CommandLine, type Given, type Reading, requireWords } from './kit/command-line.ts'
export { Failure, type FailureOptions, statusOf, usageFailure } from './kit/failure.ts'
export {
  commandText,
  explained,
  optionTerms,
  sentence,
} from './kit/help.ts'
export { readOptionTree } from './kit/key-value.ts'
export { MAX_SIZE, readBytes, readLong } from './kit/numbers.ts'
export { defineObject, type ObjectStore } from './kit/objects.ts'
export { OpenImages } from './kit/open-images.ts'
export {
  choice,
  flag,
  type OptionKind,
  type OptionKinds,
  type OptionsOf,
  type Spelling,
  type Warn,
  word,
} from './kit/options.ts'
export { Output } from './kit/output.ts'
export { answerFrom, type Secrets } from './kit/secrets.ts'
export { cacheWord, fileWord, formatWord, isJson, shared } from './kit/shared-options.ts'
export { warnOfTrace } from './kit/trace.ts'
export { bufferedOutput, type TextOutput, type WriteNow } from './text/buffered-output.ts'
export { factsText } from './text/facts-text.ts'
export { jsonOutput } from './text/json-output.ts'
export { fixedText, generalText } from './text/printf.ts'
export { versionText } from './text/version.ts'
