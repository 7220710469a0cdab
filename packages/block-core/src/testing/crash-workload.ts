/**
 * What a crash workload is: how its images are made, what is done to them, and what a power cut may leave of them.
 * The explorer (crash-explorer.ts) does the rest.
 */
import type { DebugEvent } from '../debug-events.ts'
import type { AnyDriver } from '../driver.ts'
import type { BlockNode } from '../node.ts'
import type { RawOptions } from '../options.ts'
import type { CrashGuest } from './crash-guest.ts'
import type { Random } from './random.ts'

/** One image: a disk of its own, and for an external data file a second one. */
export interface CrashImage {
  readonly driver: AnyDriver
  /** As for `qemu-img create -o`. */
  readonly create: RawOptions
  /** Options of the node while the workload runs. A cache mode, say. */
  readonly open?: RawOptions
  /** The name of the image that shows through. */
  readonly backing?: string
  /** Guest data lies in a disk of its own, which is called as the image with `-data` behind it. */
  readonly hasDataFile?: boolean
  /** That disk alone has to show the same as the image. */
  readonly isDataFileRaw?: boolean
  /** Bytes: requests to the disk are multiples of it. Default 1. */
  readonly alignment?: number
  /** A filter between the image and its disk; crashes happen below it. */
  readonly filter?: AnyDriver
}

/** What a workload has to work with. */
export interface CrashScene {
  readonly random: Random
  /** The guest of the last image of the workload, the only one that is open by itself. */
  readonly guest: CrashGuest
  /** The guest of another image, in the chain of the last one, for operations that change it (commit). */
  guestOf(image: string): CrashGuest
  /** The node of the last image. */
  readonly node: BlockNode
  /** Closes the image, and opens it anew. */
  restart(options?: RawOptions): Promise<void>
}

/** What a power cut may leave, beyond what is allowed to all: see crash-rules.ts. */
export interface CrashAllowance {
  /**
   * Images may say that they need a repair (qcow2's dirty bit, QED's need-check bit), and then may have corruptions
   * that it cures.
   */
  readonly dirty?: boolean
  /** Leaks that no repair cures: the format has none for them. */
  readonly leaks?: boolean
  /** Sectors that were being written, and were not flushed, may show zeroes: neither the old nor the new data. */
  readonly zeroes?: boolean
}

/** See the head of this file. */
export interface CrashWorkload {
  readonly name: string
  /** By name, from the bottom up; the last is the guest's disk, and the chain below it has all the others. */
  readonly images: Readonly<Record<string, CrashImage>>
  /** Done once to the new images, in peace. */
  prepare?(scene: CrashScene): Promise<void>
  /** What the power is cut off from: a few dozen requests, whose number and kind come from the scene's seed. */
  run(scene: CrashScene): Promise<void>
  readonly allows?: CrashAllowance
  /** Steps that each run is about, and must have met (names of blkdebug's events). */
  readonly meets?: readonly DebugEvent[]
  /** How much more, or less, of this workload than of others is run: a factor of the number of moments. */
  readonly weight?: number
}
