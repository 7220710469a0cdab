/** The table of the program's own command line options: the parser and `--help` are made from it. */
import { Getopt } from '@vmblock/cli'

/** One option of the program. */
interface ProgramOption {
  readonly letter?: string
  readonly name: string
  /** The name of the value in `--help`; undefined for an option without value. */
  readonly value?: string
  readonly help: readonly string[]
}

/** In the order in which getopt lists ambiguous abbreviations. */
const OPTIONS: readonly ProgramOption[] = [
  { letter: 'h', name: 'help', help: ['show this text and exit'] },
  { letter: 'V', name: 'version', help: ['say which program this is and exit'] },
  { letter: 'c', name: 'cmd', value: 'STRING', help: ['run a command; may be given several times'] },
  { letter: 'f', name: 'format', value: 'FMT', help: ['the format of the image; probed without it'] },
  { letter: 'r', name: 'read-only', help: ['open the image read-only'] },
  { letter: 's', name: 'snapshot', help: ['write to a temporary overlay, which is lost at the end'] },
  { letter: 'n', name: 'nocache', help: ['the same as -t none'] },
  { letter: 'C', name: 'copy-on-read', help: ['copy what is read from the backing file into the image'] },
  { letter: 'm', name: 'misalign', help: ['use buffers that are not aligned for direct I/O'] },
  { letter: 'k', name: 'native-aio', help: ['the same as -i native'] },
  {
    letter: 'i',
    name: 'aio',
    value: 'MODE',
    help: ['how requests reach the kernel:', 'threads, native or io_uring'],
  },
  { letter: 'd', name: 'discard', value: 'MODE', help: ['what discards do: ignore or unmap'] },
  {
    letter: 't',
    name: 'cache',
    value: 'MODE',
    help: ['none, directsync, writethrough (the default),', 'writeback or unsafe'],
  },
  { letter: 'T', name: 'trace', value: 'PATTERN', help: ['trace events; this program has none'] },
  {
    name: 'object',
    value: 'OBJECTDEF',
    help: ["define an object: 'secret,id=NAME,data=TEXT' or", "'secret,id=NAME,file=PATH'"],
  },
  { name: 'image-opts', help: ['the file is given by options, key=value,...'] },
  { letter: 'U', name: 'force-share', help: ['let others write to the image meanwhile'] },
]

const GRAMMAR = OPTIONS.map(({ letter, name, value }) => ({
  short: letter,
  long: name,
  takesValue: value !== undefined,
}))

/** Makes the parser of the program's arguments (without the program's name). */
export const programLine = (argv: readonly string[]) => new Getopt(['qemu-io', ...argv], GRAMMAR)

const HELP_COLUMN = 26

/** The text of `--help`. */
export function usageText(formats: readonly string[]): string {
  const lines = OPTIONS.flatMap(({ letter, name, value, help }) => {
    const option = `  ${letter ? `-${letter}, ` : '    '}--${name}${value ? ` ${value}` : ''}`
    return help.map((text, i) => `${(i === 0 ? option : '').padEnd(HELP_COLUMN)}  ${text}\n`)
  })
  return (
    'Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\n' +
    'Reads and writes disk images, command by command\n\n' +
    `${lines.join('')}\n` +
    "The commands are listed by 'qemu-io -c help'.\n\n" +
    `Supported formats: ${formats.join(' ')}\n`
  )
}
