/** Messages between a page and the worker that holds its file: one reply for each call, in order. */
import type { BlockErrorCode } from '../base/errors.ts'
import type { OpfsRequest } from './opfs-handle.ts'

/** A call from the page. Offsets and lengths in bytes. */
export type OpfsCall =
  | { readonly kind: 'open'; readonly request: OpfsRequest }
  | { readonly kind: 'read'; readonly offset: number; readonly bytes: number }
  | { readonly kind: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'close' }

/** The first message of the worker: shows that its script was loaded and is the right one. */
export interface OpfsReady {
  readonly ready: true
}

/** A reply from the worker. */
export type OpfsReply =
  | { readonly ok: true; readonly size?: number; readonly data?: Uint8Array }
  | { readonly ok: false; readonly code: BlockErrorCode; readonly message: string }
