/** The events of a disk, with their types, and its statistics. */

/** The kinds of request to the image. */
export type DiskOperation = 'read' | 'write' | 'discard' | 'flush'

/** A request that failed. */
export interface DiskErrorReport {
  readonly operation: DiskOperation
  /** Offset on the disk, in bytes; 0 for a flush. */
  readonly offset: number
  /** Bytes; 0 for a flush. */
  readonly bytes: number
  readonly error: unknown
  /**
   * Whether the request will be repeated, by `resume()` or with the next barrier, so that nothing is lost. If
   * not, the caller gets the error; a drive that takes no errors (v86 without `attachDisk`) gets no answer.
   */
  readonly willRetry: boolean
}

/** A request to the image that succeeded. Bytes. */
export interface DiskProgress {
  readonly operation: 'read' | 'write' | 'discard'
  readonly offset: number
  readonly bytes: number
}

/** The events of a disk. Listeners are not awaited. */
export interface DiskEvents {
  /** A read, write or discard of the image succeeded. */
  progress: [progress: DiskProgress]
  error: [report: DiskErrorReport]
  /** Requests are held until `resume()`: pause the emulator, free some space, resume. */
  stop: [error: unknown]
  resume: []
  /** Whether the disk has writes that are not durable; emitted when that changes. */
  dirty: [dirty: boolean]
  /** Everything written so far is durable. */
  flushed: []
  /** More writes are waiting than `writeBuffer` holds: an emulator that cannot wait should pause. */
  full: []
  /** The write buffer has room again. */
  room: []
  /** A warning for the user. */
  warn: [line: string]
  close: []
}

/** Counts of requests since the disk was opened, and current amounts of bytes. */
export interface DiskStatistics {
  /** Requests of the guest. */
  readonly reads: number
  readonly writes: number
  readonly discards: number
  readonly flushes: number
  /** Reads answered from memory. */
  readonly readsFromMemory: number
  /** Requests to the image. */
  readonly imageReads: number
  readonly imageWrites: number
  readonly imageFlushes: number
  /** Bytes that the guest wrote. */
  readonly bytesWritten: number
  /** Bytes in memory: of the cache, and of queued writes. */
  readonly bytesCached: number
  readonly bytesPending: number
  /** Whether there are writes that are not durable. */
  readonly dirty: boolean
}
