/** Options that several commands and programs share, spelled and read as QEMU's. */
import { CACHE_MODES, type CacheMode } from './cache-modes.ts'
import { Failure } from './failure.ts'
import { flag, type OptionKind, type Spelling, word } from './options.ts'

const formatHelp = 'the format of the image; without it, it is guessed from the content'

/** An option that names a format. */
export const formatWord = (argument: string, spelling: Spelling): OptionKind<string> =>
  word(argument, { ...spelling, values: 'format' })

/** An option that names a file. */
export const fileWord = (argument: string, spelling: Spelling): OptionKind<string> =>
  word(argument, { ...spelling, values: 'file' })

/** An option that names a cache mode. @param help what is cached @param fallback the mode without the option */
export function cacheWord(
  argument: string,
  { help, ...spelling }: Spelling & { readonly help: string },
  fallback: CacheMode = 'writeback',
): OptionKind<string> {
  const values = Object.keys(CACHE_MODES)
  const named = values.map((mode) => (mode === fallback ? `${mode} (the default)` : mode))
  return word(argument, {
    ...spelling,
    values,
    help: `${help}: ${named.slice(0, -1).join(', ')} or ${named.at(-1)}`,
  })
}

/** The options. */
export const shared = {
  format: formatWord('fmt', { short: 'f', long: 'format', help: formatHelp }),
  /** For commands that have no `--format` in QEMU 7.2. */
  shortFormat: formatWord('fmt', { short: 'f', newer: ['format'], help: formatHelp }),
  imageOpts: flag({
    long: 'image-opts',
    help: 'images are given by options, key=value,..., not by file names',
  }),
  forceShare: flag({ short: 'U', long: 'force-share', help: 'open an image that others may be writing' }),
  quiet: flag({ short: 'q', newer: ['quiet'], help: 'print nothing but errors' }),
  progress: flag({ short: 'p', newer: ['progress'], help: 'show how far it is' }),
  output: word('ofmt', {
    long: 'output',
    values: ['human', 'json'],
    help: 'print text for people (human, the default), or JSON for programs (json)',
  }),
} as const

/** Reads `--output`. @throws Failure */
export function isJson(output: string | undefined): boolean {
  if (output === undefined || output === 'human') return false
  if (output === 'json') return true
  throw new Failure('--output must be used with human or json as argument.')
}
