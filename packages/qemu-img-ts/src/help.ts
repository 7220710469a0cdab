/** The text of `--help`: usage lines from the tables of the subcommands, and explanations of parameters. */

import { commands } from './commands/index.ts'
import { usageLine } from './kit/command.ts'

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
  bench: '-c' requests of '-s' bytes, '-d' of them at once, '-S' bytes apart; '-w' writes; '-i' is how they reach
    the kernel: 'threads', 'native', 'io_uring', 'adaptive' (default) or 'sync'
  create: '-b' and '-F' name a backing file and its format; '-u' does not look whether it is there
  check: '-r leaks' gives back clusters that nothing uses, '-r all' repairs everything it can
  commit: '-b' names the layer that takes the content, '-d' leaves the overlay as it is
  convert: '-B' and '-F' name a backing file of the target and its format; '-n' writes into a target that is there;
    zeroes of 'sparse_size' bytes and more are left out (0: none); '-W' writes out of order; '-m' is how many pieces
    are copied at once; '-C' lets the host copy; '--salvage' goes on where the source cannot be read
  compare: '-s' also compares sizes and allocation
  resize: '--shrink' allows to cut off data
`

/**
 * Returns the whole text.
 *
 * @param formats names of the drivers; scripts read the last line, which lists them
 */
export async function helpText(formats: readonly string[]): Promise<string> {
  const lines: string[] = []
  for (const load of Object.values(commands)) {
    const command = await load()
    lines.push(`  ${usageLine(command)}\n      ${command.summary}\n`)
  }
  return `${INTRODUCTION}${lines.join('')}${PARAMETERS}\nSupported formats: ${[...formats].sort().join(' ')}\n`
}
