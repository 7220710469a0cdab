/** The events of a node, typed. */
import type { CheckReport, CorruptEvent } from './reports.ts'

/** Events that users of a node may listen to. Listeners are not awaited. */
export interface NodeEvents {
  /** New size in bytes. */
  resize: [size: number]
  corrupt: [event: CorruptEvent]
  'io-error': [event: IoErrorEvent]
  repair: [report: CheckReport]
  /** A warning: one line. */
  warn: [line: string]
  close: []
  /** Handles only: an error policy holds all requests back, because of this failure. */
  stop: [event: IoErrorEvent]
  /** Handles only: the requests go on. */
  resume: []
}

/** A user's request failed. QEMU's BLOCK_IO_ERROR. */
export interface IoErrorEvent {
  readonly operation: 'read' | 'write' | 'flush' | 'discard'
  /** Bytes from the start of the node; 0 for a flush. */
  readonly offset: number
  readonly error: unknown
  /** What the error policy of a handle does about it; nodes of the graph have none. */
  readonly action?: 'report' | 'ignore' | 'stop'
}
