/** What a node tells its users: typed events. */
import type { CheckReport, CorruptEvent } from './driver.ts'

/** What users of a node may listen to. Listeners are not awaited. */
export interface NodeEvents {
  /** New size in bytes. */
  resize: [size: number]
  corrupt: [event: CorruptEvent]
  'io-error': [event: IoErrorEvent]
  repair: [report: CheckReport]
  /** A line for a person. */
  warn: [line: string]
  close: []
}

/** A request of a user that failed. QEMU's BLOCK_IO_ERROR. */
export interface IoErrorEvent {
  readonly operation: 'read' | 'write' | 'flush' | 'discard'
  readonly offset: number
  readonly error: unknown
}
