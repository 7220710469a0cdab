/** All drivers of the programs, and their access to the outside world: the only file that names drivers. Formats come
 * from their own list. */
import {
  type AnyDriver,
  blkdebug,
  compress,
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
  copyBeforeWrite,
  createBlkverify,
  createQuorum,
  createThrottle,
  type MismatchHost,
  preallocate,
  snapshotAccess,
  ThrottleGroups,
} from '@vmblock/block-core/filters'
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
  /**
   * Two disks differ that blkverify or quorum compares: prints the line, without newline, and ends the program on the
   * spot, as QEMU does. If it returns, or is absent, the request fails.
   */
  onMismatch?(line: string): void
}

/** Parts of the file drivers: programs open images in one thread, and exit when the user wants it. */
const HOST_FILES: FileDriverParts = {
  makeEngine: (name) => programEngine(name),
  onUnlocked: (line, events) => events.warn(`warning: ${line}`),
  threads: false,
  warnAtExit: false,
}

/** All drivers of one run, in the order in which the registry tries them. `debug` is blkdebug with its services. */
const drivers = (debug: AnyDriver, mismatch: MismatchHost = {}): readonly AnyDriver[] => [
  ...formats,
  fileDriver(HOST_FILES),
  hostDeviceDriver('host_device', HOST_FILES),
  hostDeviceDriver('host_cdrom', HOST_FILES),
  memory,
  nullCo,
  debug,
  compress,
  copyOnRead,
  passThrough,
  writeLog,
  createBlkverify(mismatch),
  createQuorum(mismatch),
  createThrottle(new ThrottleGroups()),
  preallocate,
  copyBeforeWrite,
  snapshotAccess,
]

/** The names of formats, protocols and filters, as `--help` lists them. */
export const FORMATS: readonly string[] = drivers(blkdebug)
  .map(({ name }) => name)
  .sort()

/** Makes the environment in which the images of one run are opened. */
export function programEnvironment(surroundings: DriverSurroundings): OpenEnvironment {
  const { print, warn, readText, onMismatch } = surroundings
  learnHostErrors()
  const registry = new DriverRegistry(
    drivers(createBlkdebug({ readConfig: readText, print }), { onMismatch }),
  )
  return { registry, host: nodeHost(), ...(warn && { onWarn: warn }) }
}
