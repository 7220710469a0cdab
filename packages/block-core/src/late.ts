/**
 * What drivers use in the parts that they load late. An entry of its own: what `/driver` exports, bundlers load at start
 * as soon as any part uses it.
 * @module
 */
export { errnoOf, errorText, failureOf, strerror } from './base/errno.ts'
export { pieceControl } from './features/pieces.ts'
export { DecodedCache } from './format-kit/decoded-cache.ts'
export { readOnlyReopen, requireReadOnly } from './format-kit/read-only.ts'
export { emptyCommitted } from './jobs/empty-committed.ts'
export { LookAhead, StatusCursor, type StatusCursorOptions } from './jobs/status-cursor.ts'
export { parseJson } from './text/json.ts'
