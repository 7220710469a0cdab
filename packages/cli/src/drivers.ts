/** All drivers of the programs, and their access to the outside world: the only file that names drivers. Formats come
 * from their own list. */
import {
  type AnyDriver,
  blkdebug,
  copyOnRead,
  createBlkdebug,
  DriverRegistry,
  memory,
  nullCo,
  type OpenEnvironment,
  passThrough,
  writeLog,
} from '@vmblock/block-core'
import {
  type FileDriverParts,
  fileDriver,
  hostDeviceDriver,
  learnHostErrors,
  nodeHost,
} from '@vmblock/block-core/node'
import { formats } from '@vmblock/formats'
import { programEngine } from './host/program-engine.ts'

/** The services that a program provides to the drivers. */
export interface DriverSurroundings {
  /** Prints lines about suspended and resumed requests, without newline. */
  print(line: string): void
  /** Prints warnings of drivers, without newline. If absent, they are dropped. */
  warn?(line: string): void
  /** Reads a rules file of blkdebug. */
  readText(path: string): Promise<string>
}

/** Parts of the file drivers: programs open images in one thread, and exit when the user wants it. */
const HOST_FILES: FileDriverParts = {
  makeEngine: (name) => programEngine(name),
  onUnlocked: (line, events) => events.warn(`warning: ${line}`),
  threads: false,
  warnAtExit: false,
}

/** All drivers, in the order in which the registry tries them. `debug` is blkdebug with its services. */
const drivers = (debug: AnyDriver): readonly AnyDriver[] => [
  ...formats,
  fileDriver(HOST_FILES),
  hostDeviceDriver('host_device', HOST_FILES),
  hostDeviceDriver('host_cdrom', HOST_FILES),
  memory,
  nullCo,
  debug,
  copyOnRead,
  passThrough,
  writeLog,
]

/** The names of formats, protocols and filters, as `--help` lists them. */
export const FORMATS: readonly string[] = drivers(blkdebug)
  .map(({ name }) => name)
  .sort()

/** Makes the environment in which the images of one run are opened. */
export function programEnvironment({ print, warn, readText }: DriverSurroundings): OpenEnvironment {
  learnHostErrors()
  const registry = new DriverRegistry(drivers(createBlkdebug({ readConfig: readText, print })))
  return { registry, host: nodeHost(), ...(warn && { onWarn: warn }) }
}
