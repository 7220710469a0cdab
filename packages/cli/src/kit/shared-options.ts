/** Options that several commands and programs share, spelled and read as QEMU's. */
import { Failure } from './failure.ts'
import { flag, word } from './options.ts'

/** The options. */
export const shared = {
  format: word('fmt', { short: 'f', long: 'format' }),
  /** For commands that have no `--format` in QEMU. */
  shortFormat: word('fmt', { short: 'f' }),
  imageOpts: flag({ long: 'image-opts' }),
  forceShare: flag({ short: 'U', long: 'force-share' }),
  quiet: flag({ short: 'q' }),
  progress: flag({ short: 'p' }),
  output: word('ofmt', { long: 'output' }),
} as const

/** Reads `--output`. @throws Failure */
export function isJson(output: string | undefined): boolean {
  if (output === undefined || output === 'human') return false
  if (output === 'json') return true
  throw new Failure('--output must be used with human or json as argument.')
}
