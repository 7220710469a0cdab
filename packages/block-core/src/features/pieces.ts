/** What an operation in pieces is given by its caller, made complete: in drivers' code that is loaded late. */
import type { PieceControl, PieceOptions, RunAlone } from '../contract/job-control.ts'

/**
 * The control of an operation in pieces, from what its caller gave.
 *
 * @param alone runs a piece with no request in flight
 */
export function pieceControl(options: PieceOptions, alone: RunAlone): PieceControl {
  const {
    signal,
    onProgress,
    checkpoint = () => (signal?.aborted ? Promise.reject(signal.reason) : undefined),
    report = (done, total) => onProgress?.(done, total),
  } = options
  return { signal, checkpoint, report, alone }
}
