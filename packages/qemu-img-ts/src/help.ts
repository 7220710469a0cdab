/** The text of `--help`: from the tables of the subcommands, and what they have in common. */
import { usageLine } from '@vmblock/cli'
import { commands } from './commands/index.ts'

const INTRODUCTION = `usage: qemu-img-ts [standard options] command [command options]
Makes, inspects and changes disk images, as QEMU's qemu-img does.

    '-h', '--help'       say this and exit
    '-V', '--version'    say which program this is and exit

Command syntax:
`

const PARAMETERS = `
Command parameters:
  'filename' names an image: a path, a name with a protocol ('blkdebug:rules:path') or 'json:{...}';
    with '--image-opts' it is a list of options ('driver=qcow2,file.filename=path')
  'fmt' is the format of an image; where it is left out, it is guessed from the content
  'cache' is how the image that is written is cached: 'none', 'writeback' (default), 'writethrough',
    'directsync' or 'unsafe'; 'src_cache' is the same for images that are only read
  'size' is a number of bytes, or of larger units with one of the suffixes k, M, G, T, P and E
    (powers of 1024)
  'options' is a list of options of a format, 'name=value,...'; '-o help' lists what there is
  'ofmt' is 'human' (default) or 'json'
  '-p' shows progress, '-q' shows nothing but errors
  '-U' opens an image that others may be writing
`

/**
 * Returns the whole text.
 *
 * @param formats names of the drivers; scripts read the last line, which lists them
 */
export async function helpText(formats: readonly string[]): Promise<string> {
  const all = await Promise.all(Object.values(commands).map((load) => load()))
  const lines = all.map((command) => `  ${usageLine(command)}\n      ${command.summary}\n`)
  const details = all.map(({ name, details }) => (details ? `  ${name}: ${details.join('\n    ')}\n` : ''))
  return `${INTRODUCTION}${lines.join('')}${PARAMETERS}${details.join('')}\nSupported formats: ${[...formats].sort().join(' ')}\n`
}
