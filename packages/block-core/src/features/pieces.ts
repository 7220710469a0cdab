/** What an operation in pieces is given by its caller, made complete: in drivers' code that is loaded late. */
import { requireCallback, requireOptions, requireSignal } from '../base/arguments.ts'
import type { PieceControl, PieceOptions, RunAlone } from '../contract/job-control.ts'

const PIECES = {
  signal: requireSignal,
  onProgress: requireCallback,
  checkpoint: requireCallback,
  report: requireCallback,
}

/**
 * The control of an operation in pieces, from what its caller gave.
 *
 * @param alone runs a piece with no request in flight
 * @throws BlockError EINVAL for other options
 */
export function pieceControl(options: PieceOptions, alone: RunAlone): PieceControl {
  requireOptions(options, 'options', PIECES)
  const {
    signal,
    onProgress,
    checkpoint = () => (signal?.aborted ? Promise.reject(signal.reason) : undefined),
    report = (done, total) => onProgress?.(done, total),
  } = options
  return { signal, checkpoint, report, alone }
}
