/** Every driver this program knows, and what of the world they are given: the only file that names drivers. */
import {
  copyOnRead,
  createBlkdebug,
  DriverRegistry,
  memory,
  nullCo,
  type OpenEnvironment,
  passThroughFilter,
  writeLog,
} from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'

/** What the drivers are given by the session. */
export interface DriverSurroundings {
  /** Takes lines on suspended and resumed requests, without newline. */
  print(line: string): void
  /** Takes lines of drivers for a person, without newline. */
  warn(line: string): void
  /** Content of a rules file of blkdebug. */
  readText(path: string): Promise<string>
}

/** The formats, as `--help` lists them. */
export const FORMATS: readonly string[] = [
  'blkdebug',
  'copy-on-read',
  'file',
  'memory',
  'null-co',
  'pass-through',
  'qcow2',
  'qed',
  'raw',
  'write-log',
]

/** The environment in which images of one session are opened. */
export function nodeEnvironment({ print, warn, readText }: DriverSurroundings): OpenEnvironment {
  const registry = new DriverRegistry([
    raw,
    qcow2,
    qed,
    file,
    memory,
    nullCo,
    createBlkdebug({ readConfig: readText, print }),
    copyOnRead,
    passThroughFilter,
    writeLog,
  ])
  return { registry, host: nodeHost(), onWarn: warn }
}
