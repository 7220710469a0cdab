/** What a disk tells those who watch it: typed events, and counts. */

/** What was asked of the image. */
export type DiskOperation = 'read' | 'write' | 'discard' | 'flush'

/** A request that failed. */
export interface DiskErrorReport {
  readonly operation: DiskOperation
  /** Bytes, on the disk; 0 for a flush. */
  readonly offset: number
  /** Bytes; 0 for a flush. */
  readonly bytes: number
  readonly error: unknown
  /**
   * Nothing is lost: it is tried again, by `resume()` or with the next barrier. If not, whoever asked is told; a drive that
   * cannot be told (v86 without `attachDisk`) gets no answer.
   */
  readonly willRetry: boolean
}

/** A request to the image that ended well. Bytes. */
export interface DiskProgress {
  readonly operation: 'read' | 'write' | 'discard'
  readonly offset: number
  readonly bytes: number
}

/** What users of a disk may listen to. Listeners are not awaited. */
export interface DiskEvents {
  /** Something was read from the image, or written to it. */
  progress: [progress: DiskProgress]
  error: [report: DiskErrorReport]
  /** Requests are held until `resume()`: pause the emulator, make room, resume. */
  stop: [error: unknown]
  resume: []
  /** The disk has writes that are not durable; false: it has none any more. */
  dirty: [dirty: boolean]
  /** Everything that was written until now is durable. */
  flushed: []
  /** More writes are waiting than `writeBuffer` holds: an emulator that cannot wait should pause. */
  full: []
  /** There is room again. */
  room: []
  /** A line for a person. */
  warn: [line: string]
  close: []
}

/** Counts since the disk was opened, and what is held now. */
export interface DiskStatistics {
  /** Requests of the guest. */
  readonly reads: number
  readonly writes: number
  readonly discards: number
  readonly flushes: number
  /** Reads that were answered from memory. */
  readonly readsFromMemory: number
  /** Requests to the image. */
  readonly imageReads: number
  readonly imageWrites: number
  readonly imageFlushes: number
  /** Bytes that the guest wrote. */
  readonly bytesWritten: number
  /** Bytes in memory: of the cache, and of writes that are on their way. */
  readonly bytesCached: number
  readonly bytesPending: number
  /** There are writes that are not durable. */
  readonly dirty: boolean
}
