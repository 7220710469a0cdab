/**
 * What drivers report of an image: facts, results of a check, and events.
 */
import type { CheckFinding } from './findings.ts'

/** What `check` repairs. */
export type RepairMode = 'leaks' | 'all'

/** What a consistency check found and did; names and meaning as in QEMU's `ImageCheck`; it counts clusters, or entries of tables. */
export interface CheckReport {
  /** Inconsistencies that endanger data, left after repair. */
  corruptions: number
  /** Clusters that are allocated but not referenced, left after repair. */
  leaks: number
  corruptionsFixed: number
  leaksFixed: number
  /** Structures that could not be checked at all. */
  checkErrors: number
  /** Where the last used cluster of the image file ends, in bytes. */
  imageEndOffset?: number
  /** Guest clusters: all, and how many of them are allocated, fragmented and compressed. */
  totalClusters?: number
  allocatedClusters?: number
  fragmentedClusters?: number
  compressedClusters?: number
}

/** How a check runs. */
export interface CheckOptions {
  readonly repair?: RepairMode
  /** Receives each finding as it is made; QEMU prints its message to stderr. The check keeps none. */
  readonly report?: (finding: CheckFinding) => void
  /**
   * Receives the finding that says why a check cannot complete, where programs prefix QEMU's message with their
   * name. Default: `report`.
   */
  readonly reportFailure?: (finding: CheckFinding) => void
}

/** How a check runs, as users specify it. */
export interface NodeCheckOptions extends Omit<CheckOptions, 'repair'> {
  /** `false` is the same as absent. */
  readonly repair?: CheckOptions['repair'] | false
}

/** What compacting an image did. All numbers are bytes of the image file. */
export interface CompactReport {
  readonly sizeBefore: number
  readonly sizeAfter: number
  /** What was moved towards the start: data and tables, each piece once. */
  readonly movedBytes: number
  /** Clusters in use behind free ones that could not be moved: nothing refers to them, or they must stay together. */
  readonly leftBytes: number
}

/** Facts for `info`: plain data, keys as `qemu-img info --output=json` spells them. */
export interface NodeInfo {
  /** Bytes. */
  readonly clusterSize?: number
  /** Guest offset where the VM state area begins, in bytes. */
  readonly vmStateOffset?: number
  /** The image needs a repair before it can be written (qcow2's dirty bit, QED's need-check bit). */
  readonly dirty?: boolean
  readonly encrypted?: boolean
  readonly compressed?: boolean
  /** The backing file according to the header; another one may be open. */
  readonly backingFilename?: string
  readonly backingFormat?: string
  /** Bytes that the file occupies in its file system; 0 for a device. */
  readonly actualSize?: number
  /** Facts that only this format has. */
  readonly formatSpecific?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
}

/** An internal snapshot, as `info` lists it (qapi/block-core.json, SnapshotInfo). */
export interface SnapshotInfo {
  /** For display: long ids may be truncated, and invalid UTF-8 is replaced. */
  readonly id: string
  readonly name: string
  /** Bytes of machine state. */
  readonly vmStateSize: bigint
  /** Bytes of the disk; absent if the image does not say so: then it is the size of the disk now. */
  readonly diskSize?: bigint
  /** Time of creation: seconds since 1970, and nanoseconds. */
  readonly dateSec: number
  readonly dateNsec: number
  /** How long the machine had run, in nanoseconds. */
  readonly vmClockNsec: bigint
  /** How many instructions the machine had executed, if it counts them. */
  readonly icount?: bigint
}

/** The driver found the image broken: QEMU's BLOCK_IMAGE_CORRUPTED. `offset` and `size` are bytes. */
export interface CorruptEvent {
  readonly message: string
  /** Host offset and size in bytes of the broken structure, if known. */
  readonly offset?: number
  readonly size?: number
  readonly fatal: boolean
}

/** Events that a driver emits to users of its node. */
export interface DriverEvents {
  /** The image contradicts itself. Reported once per node, and again if `fatal` (the node stops working). */
  corrupt(event: CorruptEvent): void
  /** A repair ran while opening or reopening. */
  repair(report: CheckReport): void
  /** A warning: one line, as QEMU prints to stderr. */
  warn(line: string): void
}

/** Facts of a node, as plain data. */
export interface NodeFacts {
  readonly driver: string
  readonly filename: string
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly readOnly: boolean
  readonly state: string
  /** File name of the backing file that is open. */
  readonly backing?: string
}
