/** The table of the program's own command line options: the parser and `--help` are made from it. */
import {
  CACHE_MODES,
  explained,
  flag,
  formatWord,
  type OptionKind,
  optionTerms,
  type ProgramTable,
  SHELLS,
  sentence,
  word,
} from '@vmblock/cli'
import { MODE_OPTIONS } from './session/image.ts'

const { s, n, C, r, k, i, t, d, U } = MODE_OPTIONS

/** An option as `--help` shows it. */
interface ProgramOption<T> extends OptionKind<T> {
  readonly long: string
  readonly help: string
}

/** Spells and explains an option; a spelling without a letter is the word alone. */
const option = <T>(spelling: string, kind: OptionKind<T>, help: string): ProgramOption<T> => {
  const [, short, long] = /^(?:(.), )?(.*)$/.exec(spelling)!
  return { ...kind, short, long: long!, help }
}

/** In the order in which getopt lists ambiguous abbreviations. Those that change modes have their letters as names. */
export const PROGRAM_OPTIONS = {
  help: option('h, help', flag(), 'show this text and exit'),
  version: option('V, version', flag(), 'say which program this is and exit'),
  cmd: option('c, cmd', word('STRING'), 'run a command; may be given several times'),
  format: option(
    'f, format',
    formatWord('FMT', {}),
    'the format of the image; without it, it is guessed from the content',
  ),
  r: option('r, read-only', r, 'open the image read-only'),
  s: option('s, snapshot', s, 'write to a temporary overlay, which is lost at the end'),
  n: option('n, nocache', n, 'the same as -t none'),
  C: option('C, copy-on-read', C, 'copy what is read from the backing file into the image'),
  misalign: option('m, misalign', flag(), 'use buffers that are not aligned for direct I/O'),
  k: option('k, native-aio', k, 'the same as -i native'),
  i: option(
    'i, aio',
    { ...i, values: ['threads', 'native', 'io_uring'] },
    'how requests reach the kernel: threads, native or io_uring',
  ),
  d: option('d, discard', { ...d, values: ['ignore', 'unmap'] }, 'what discards do: ignore or unmap'),
  t: option(
    't, cache',
    { ...t, values: Object.keys(CACHE_MODES) },
    'none, directsync, writethrough (the default), writeback or unsafe',
  ),
  trace: option('T, trace', word('PATTERN'), 'trace events; this program has none'),
  object: option(
    'object',
    word('OBJECTDEF'),
    "define an object: 'secret,id=NAME,data=TEXT' or 'secret,id=NAME,file=PATH'",
  ),
  imageOpts: option('image-opts', flag(), 'the file is given by options, key=value,...'),
  U: option('U, force-share', U, 'let others write to the image meanwhile'),
  completion: word('SHELL', {
    newer: ['completion'],
    values: SHELLS,
    help: 'print a script that lets a shell complete command lines: bash, zsh or fish',
  }),
} as const

/** The tables of the program. @param formats the names that --format takes */
export const programTable = (formats: readonly string[]): ProgramTable => ({
  name: 'qemu-io-ts',
  summary: 'read and write disk images, command by command',
  details: [
    'Without -c, commands are read from the terminal, or from standard input: `help` lists them. Without a file, none is',
    'open until the command `open` opens one. Exit status: 0 if everything succeeded, 1 if anything failed.',
  ],
  options: PROGRAM_OPTIONS,
  operands: '[file]',
  operandHelp: { file: 'the image: a path, a name with a protocol (blkdebug:rules:path) or json:{...}' },
  example: "-c 'write -P 0x5a 0 64k' -c 'read -v 0 512' disk.qcow2",
  commands: [],
  formats,
})

/** The text of `--help`. @param formats names of all drivers; scripts read the last line, which lists them */
export function usageText(formats: readonly string[]): string {
  const { name, summary, options, operandHelp = {}, example } = programTable(formats)
  return [
    `Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\n${sentence(summary)}\n`,
    `\n${explained(optionTerms(options))}${explained(Object.entries(operandHelp))}`,
    `\nExample:\n  ${name} ${example}\n`,
    "\nThe commands are listed by 'qemu-io-ts -c help', and one is explained by\n'qemu-io-ts -c \"help write\"'.\n",
    `\nSupported formats: ${formats.join(' ')}\n`,
  ].join('')
}
