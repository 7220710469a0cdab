/** What opening nodes depends on: the drivers, the resolver of names, and where warnings go. */
import type { AnyDriver } from './driver.ts'
import type { ImageResolver } from './image-resolver.ts'
import type { DriverRegistry } from './registry.ts'
import type { CheckReport } from './reports.ts'

/** What opening nodes depends on. Nodes opened with the same object share one namespace. */
export interface OpenEnvironment<D extends AnyDriver = AnyDriver> {
  readonly registry: DriverRegistry<D>
  readonly host: ImageResolver
  /**
   * Receives every warning from nodes of this environment (QEMU prints them to stderr), including warnings
   * from children and while opening, which no listener of a node's `warn` event can receive.
   */
  readonly onWarn?: (line: string) => void
  /** Called after every repair that runs while opening or reopening. */
  readonly onRepair?: (report: CheckReport, nodeName: string) => void
  /**
   * The bytes of a secret, to which options refer by its id (`encrypt.key-secret`): the passphrase of an encrypted image.
   * The receiver does not change them. Absent: there are none.
   *
   * @throws BlockError EINVAL for an unknown id
   */
  readonly secret?: (id: string) => Promise<Uint8Array>
}
