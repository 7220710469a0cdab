/** Every driver the programs know, and what of the world they are given: the only file that names drivers. */
import {
  type AnyDriver,
  blkdebug,
  copyOnRead,
  createBlkdebug,
  DriverRegistry,
  memory,
  nullCo,
  type OpenEnvironment,
  passThroughFilter,
  writeLog,
} from '@vmblock/block-core'
import {
  type FileDriverParts,
  fileDriver,
  hostDeviceDriver,
  learnHostErrors,
  nodeHost,
} from '@vmblock/block-core/node'
import { createQcow2Driver } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'
import { nodeCodecs } from './node-codecs.ts'
import { programEngine } from './program-engine.ts'

/** What the drivers are given by the program. */
export interface DriverSurroundings {
  /** Takes lines on suspended and resumed requests, without newline. */
  print(line: string): void
  /** Takes lines of drivers for a person, without newline. Without it nobody hears them. */
  warn?(line: string): void
  /** Content of a rules file of blkdebug. */
  readText(path: string): Promise<string>
}

/** How the programs reach files and devices: they open images in one thread, and their end is what the user asked for. */
const HOST_FILES: FileDriverParts = {
  makeEngine: (name) => programEngine(name),
  onUnlocked: (line, events) => events.warn(`warning: ${line}`),
  threads: false,
  warnAtExit: false,
}

/** In the order in which a registry is asked. `debug` is blkdebug with what it needs. */
const drivers = (debug: AnyDriver): readonly AnyDriver[] => [
  raw,
  createQcow2Driver({ codecs: nodeCodecs }),
  qed,
  fileDriver(HOST_FILES),
  hostDeviceDriver('host_device', HOST_FILES),
  hostDeviceDriver('host_cdrom', HOST_FILES),
  memory,
  nullCo,
  debug,
  copyOnRead,
  passThroughFilter,
  writeLog,
]

/** The names of formats, protocols and filters, as `--help` lists them. */
export const FORMATS: readonly string[] = drivers(blkdebug)
  .map(({ name }) => name)
  .sort()

/** The environment in which images of one run are opened. */
export function nodeEnvironment({ print, warn, readText }: DriverSurroundings): OpenEnvironment {
  learnHostErrors()
  const registry = new DriverRegistry(drivers(createBlkdebug({ readConfig: readText, print })))
  return { registry, host: nodeHost(), ...(warn && { onWarn: warn }) }
}
