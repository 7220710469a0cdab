/** The table of the program's own command line options: the parser and `--help` are made from it. */
import { flag, type OptionKind, word } from '@vmblock/cli'
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
  format: option('f, format', word('FMT'), 'the format of the image; probed without it'),
  r: option('r, read-only', r, 'open the image read-only'),
  s: option('s, snapshot', s, 'write to a temporary overlay, which is lost at the end'),
  n: option('n, nocache', n, 'the same as -t none'),
  C: option('C, copy-on-read', C, 'copy what is read from the backing file into the image'),
  misalign: option('m, misalign', flag(), 'use buffers that are not aligned for direct I/O'),
  k: option('k, native-aio', k, 'the same as -i native'),
  i: option('i, aio', i, 'how requests reach the kernel: threads, native or io_uring'),
  d: option('d, discard', d, 'what discards do: ignore or unmap'),
  t: option('t, cache', t, 'none, directsync, writethrough (the default), writeback or unsafe'),
  trace: option('T, trace', word('PATTERN'), 'trace events; this program has none'),
  object: option(
    'object',
    word('OBJECTDEF'),
    "define an object: 'secret,id=NAME,data=TEXT' or 'secret,id=NAME,file=PATH'",
  ),
  imageOpts: option('image-opts', flag(), 'the file is given by options, key=value,...'),
  U: option('U, force-share', U, 'let others write to the image meanwhile'),
} as const

const HELP_COLUMN = 26
/** Characters of the help of an option in a line of 80. */
const HELP_WIDTH = 52

/** The text of `--help`. */
export function usageText(formats: readonly string[]): string {
  const lines = Object.values(PROGRAM_OPTIONS).flatMap(({ short, long, argument, help }) => {
    const start = `  ${short ? `-${short}, ` : '    '}--${long}${argument ? ` ${argument}` : ''}`
    const lines = help.match(new RegExp(`.{1,${HELP_WIDTH}}(?= |$)`, 'g')) ?? []
    return lines.map((text, i) => `${(i === 0 ? start : '').padEnd(HELP_COLUMN)}  ${text.trim()}\n`)
  })
  return (
    'Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\n' +
    'Reads and writes disk images, command by command\n\n' +
    `${lines.join('')}\n` +
    "The commands are listed by 'qemu-io -c help'.\n\n" +
    `Supported formats: ${formats.join(' ')}\n`
  )
}
