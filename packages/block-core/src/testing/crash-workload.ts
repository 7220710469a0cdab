/**
 * Defines crash workloads: how the images are made, what is done to them, and what a power cut may leave.
 * The explorer (crash-explorer.ts) does the rest.
 */
import type { DebugEvent } from '../contract/debug-events.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { RawOptions } from '../text/options.ts'
import type { CrashGuest } from './crash-guest.ts'
import type { Shown } from './crash-shown.ts'
import type { Random } from './random.ts'

/** One image: it has its own disk, and a second one for an external data file. */
export interface CrashImage {
  readonly driver: AnyDriver
  /** Options as for `qemu-img create -o`. */
  readonly create: RawOptions
  /** Options of the node while the workload runs: a cache mode, for example. */
  readonly open?: RawOptions
  /** Options of every opening, also of those that judge: the key of an encrypted image. */
  readonly key?: RawOptions
  /** The name of the backing image. */
  readonly backing?: string
  /** The images that the header may name as backing file, which decides: for workloads that change it. */
  readonly mayName?: readonly string[]
  /** Guest data is on a separate disk, named like the image with the suffix `-data`. */
  readonly hasDataFile?: boolean
  /** The data disk alone must show the same content as the image. */
  readonly isDataFileRaw?: boolean
  /** Bytes: alignment of requests to the disk. Default 1. */
  readonly alignment?: number
  /** A filter between the image and its disk; crashes happen below it. */
  readonly filter?: AnyDriver
}

/** The objects that a workload uses. */
export interface CrashScene {
  readonly random: Random
  /** The guest of the last image of the workload, the only one that is opened directly. */
  readonly guest: CrashGuest
  /** The guest of another image, in the chain of the last one, for operations that change it (commit). */
  guestOf(image: string): CrashGuest
  /** The node of the last image. */
  readonly node: BlockNode
  /** Closes the image, and opens it again. */
  restart(options?: RawOptions): Promise<void>
}

/** Exceptions to the rules for all images: see crash-judge.ts. */
export interface CrashAllowance {
  /**
   * Images may be marked as needing a repair (qcow2's dirty bit, QED's need-check bit), and may then have
   * corruptions that the repair fixes.
   */
  readonly dirty?: boolean
  /**
   * Entries may say wrongly whether their cluster is shared, which costs a copy or nothing, until a repair (qcow2 version 2,
   * which has no dirty bit, while its snapshots change).
   */
  readonly flags?: boolean
  /** Leaks may remain after a repair: the format cannot repair them. */
  readonly leaks?: boolean
}

/** See the head of this file. */
export interface CrashWorkload {
  readonly name: string
  /** By name, from the bottom up; the last is the guest's disk, and its chain contains all others. */
  readonly images: Readonly<Record<string, CrashImage>>
  /** Runs once on the new images, without power cuts. */
  prepare?(scene: CrashScene): Promise<void>
  /** The requests that a power cut interrupts: a few dozen, chosen by the scene's seed. */
  run(scene: CrashScene): Promise<void>
  /**
   * Rules of its own: called for every state with an image that is open for reading, and with what it shows.
   *
   * @throws Error that says what is wrong
   */
  inspect?(node: BlockNode, shown: Shown, image: string): Promise<void>
  readonly allows?: CrashAllowance
  /** Steps that every run must reach (names of blkdebug's events). */
  readonly meets?: readonly DebugEvent[]
  /** Weight relative to other workloads: a factor of the number of moments. */
  readonly weight?: number
}
