/**
 * Code that only the programs share: command line parsing, formatting of text and streams, and the list of
 * drivers.
 * @module
 */

export { filenameToOptions } from '@vmblock/block-core/node'
export { bufferedOutput, type TextOutput, type WriteNow } from './buffered-output.ts'
export { type DriverSurroundings, FORMATS, nodeEnvironment } from './drivers.ts'
export { factsText } from './facts-text.ts'
export { Getopt, type GetoptOption, type GetoptStep } from './getopt.ts'
export { jsonOutput } from './json-output.ts'
export { Mistake } from './mistake.ts'
export { fixedText, generalText } from './printf.ts'
export { defineObject, type Secrets } from './secrets.ts'
export { warnOfTrace } from './trace.ts'
export { VERSION, versionText } from './version.ts'
