/**
 * Where the guest's data lies, and what follows from that for requests, which know this interface alone. The
 * tables map guest offsets to host offsets of a store; only the store knows what a host offset leads to.
 */
import type { BlockStatus, Preallocation, WriteFlags } from '@vmblock/block-core/driver'
import type { FreeReason } from './frees.ts'

/** Contiguous host clusters that were just allocated. */
export interface Allocated {
  /** Host bytes. */
  readonly offset: number
  /** Never written before, and read as zeroes from the store; what a cipher shows of them does not. */
  readonly zeroed: boolean
}

/**
 * Offsets and sizes are bytes. Data comes with its guest offset because ciphers may depend on it. Compressed
 * clusters are not read through the store: they always lie in the image file.
 *
 * An undefined result means that there is nothing to await; an absent method, that there is nothing to do.
 */
export interface ClusterStore {
  /** Fills `into` from a host offset. @throws the error of the file */
  read(host: number, into: Uint8Array, guest: number): Promise<void>
  /** Writes `from` at a host offset. @throws the error of the file */
  write(host: number, from: Uint8Array, guest: number): Promise<void>
  /** Makes completed writes durable. @throws the error of the file */
  flush(): Promise<void>
  /** Where others find the guest's bytes as they are; undefined if they do not lie anywhere as they are. */
  locate(host: number): BlockStatus['host']

  /**
   * Refuses a write that would hit metadata.
   *
   * @returns undefined if it does not; else a promise that rejects ({@link OverlapChecks.guard})
   */
  guard(host: number, bytes: number): Promise<void> | undefined
  /**
   * Takes contiguous clusters for guest clusters. Runs under the image's lock.
   *
   * @param guest start of the first one
   * @returns no promise if no table has to be read: nearly always
   * @throws BlockError EFBIG, ENOSPC, or the error of the file
   */
  allocate(guest: number, count: number): Allocated | Promise<Allocated>
  /** Releases allocated clusters that nothing ever pointed at. Takes the image's lock. */
  release(host: number, bytes: number): Promise<void> | undefined
  /** Notes clusters as freed: an entry no longer refers to them. */
  free(host: number, bytes: number, reason: FreeReason): void
  /** How far the image file must durably reach before an entry points at clusters that end at a host offset. */
  fileEndFor(hostEnd: number): number

  /**
   * Zeroing changes the data first and the tables afterwards: a write in place must hold its guest range, or
   * it would be lost between the two.
   */
  readonly holdsInPlaceWrites?: boolean
  /** Called before the tables say that a guest range reads as zeroes. The caller holds the range. */
  beforeZeroing?(guest: number, bytes: number, flags: WriteFlags): Promise<void> | undefined
  /** Called after whole guest clusters were unlinked for a discard. The caller holds the range. */
  afterDiscard?(guest: number, bytes: number): Promise<void> | undefined

  /** Called before the disk grows to `size`. @throws the error of the file */
  grow?(size: number, preallocation: Preallocation): Promise<void>
  /** Called after the disk has got another size. @throws the error of the file */
  truncate?(size: number): Promise<void>
}
