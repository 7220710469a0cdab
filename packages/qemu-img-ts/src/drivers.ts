/** Every driver this program knows, and what it knows of them: the only file that names drivers. */
import {
  createBlkdebug,
  DriverRegistry,
  memory,
  nullCo,
  type OpenHost,
  passThroughFilter,
} from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'

/** What the drivers are given by the process. */
export interface DriverSurroundings {
  /** Content of a rules file of blkdebug. */
  readText(path: string): Promise<string>
  /** Takes lines for standard output, without newline. */
  print(line: string): void
}

/** The drivers, and the host that opens what images name. */
export interface Drivers {
  readonly registry: DriverRegistry
  readonly host: OpenHost
  /** Keys of `createOptions` that an existing image of a format can change, as `amend` knows them. */
  readonly amendable: Readonly<Record<string, readonly string[]>>
}

/** The drivers of the program. */
export function nodeDrivers({ readText, print }: DriverSurroundings): Drivers {
  return {
    registry: new DriverRegistry([
      raw,
      qcow2,
      qed,
      file,
      memory,
      nullCo,
      createBlkdebug({ readConfig: readText, print }),
      passThroughFilter,
    ]),
    host: nodeHost(),
    amendable: { qcow2: ['backing_file', 'backing_fmt', 'compat', 'lazy_refcounts', 'size'] },
  }
}
