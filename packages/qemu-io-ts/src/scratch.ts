/** The scratch image of `--scratch`, which is kept, so that the repair after a crash can be watched. */
import { createImage } from '@vmblock/block-core'
import { main, type Services, type Streams } from './main.ts'

/** Directories for scratch images, and the file functions needed. */
export interface ScratchDirectories {
  /** Directories to try, best first. */
  readonly directories: readonly string[]
  join(directory: string, name: string): string
  exists(path: string): boolean
  /** Makes a directory and its parents. @throws if that fails */
  makeDirectory(path: string): void
}

const NAME = 'scratch.qcow2'
const SIZE = 1024 ** 3

/**
 * Opens the scratch image, creating it if it does not exist, and runs the program on it.
 *
 * @param argv more arguments for the program
 * @returns the exit status
 */
export async function runScratch(
  argv: readonly string[],
  streams: Streams,
  services: Services,
  scratch: ScratchDirectories,
): Promise<number> {
  const { output } = streams
  let path: string
  try {
    path = await findScratch(services, scratch)
  } catch (error) {
    output.error(
      `qemu-io: cannot make a scratch image: ${error instanceof Error ? error.message : String(error)}\n`,
    )
    return 1
  }
  output.print(
    `Scratch image, which is kept:\n  ${path}\n` +
      'Try  write -P 0x5a 0 64k  and then  abort  (it dies at once, nothing flushed).\n' +
      'Start again and watch the repair; then  read -P 0x5a 0 64k  finds the data.\n' +
      'help  lists the commands, Tab completes them, Ctrl-C stops one, quit ends.\n',
  )
  output.flush()
  return main(['-f', 'qcow2', ...argv, path], { ...streams, isWatched: true }, services)
}

async function findScratch(services: Services, scratch: ScratchDirectories): Promise<string> {
  const { directories, join, exists, makeDirectory } = scratch
  const paths = directories.map((directory) => join(directory, NAME))
  const present = paths.find(exists)
  if (present !== undefined) return present
  let failure: unknown = new Error('there is no place for it')
  for (const [i, path] of paths.entries()) {
    try {
      makeDirectory(directories[i]!)
      await createScratch(services, path)
      return path
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

async function createScratch(services: Services, filename: string): Promise<void> {
  const quiet = { print: () => {}, warn: () => {}, readText: () => Promise.reject(new Error('no files')) }
  const file = { driver: 'file', filename }
  await createImage(services.environment(quiet), { driver: 'qcow2', file, size: SIZE, lazyRefcounts: true })
}
