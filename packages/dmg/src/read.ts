/** Reads an image, and says what its chunks are. */
import { type BlockStatus, inParts } from '@vmblock/block-core/driver'
import type { Image, Piece } from './image.ts'

/**
 * Fills `into` from a guest offset.
 *
 * @throws BlockError EIO where the image has nothing, or is damaged; errors of the file
 */
export const read = (image: Image, offset: number, into: Uint8Array): Promise<void> =>
  inParts(into.length, async (done, parts) => {
    const at = offset + done
    const piece = image.pieceAt(at, into.length - done)
    const target = into.subarray(done, done + piece.bytes)
    if (piece.kind === 'zero') target.fill(0)
    else await parts.add(() => readPiece(image, at, piece, target))
    return piece.bytes
  })

async function readPiece(
  image: Image,
  offset: number,
  piece: Exclude<Piece, { kind: 'zero' }>,
  target: Uint8Array,
): Promise<void> {
  if (piece.kind === 'unknown') throw image.unreadable(offset, piece.why)
  if (piece.kind === 'raw') {
    image.requireInside(offset, piece.host, piece.bytes)
    await image.file.read(piece.host, target)
    return
  }
  const chunk = await image.decoded(piece.chunk)
  target.set(chunk.subarray(piece.within, piece.within + piece.bytes))
}

/** The most pieces that one answer joins. */
const JOINED = 4096

/** The status of what is at a guest offset, up to where it changes. */
export function statusAt(image: Image, offset: number, bytes: number): BlockStatus {
  const first = image.pieceAt(offset, bytes)
  let end = first.bytes
  for (let joined = 1; joined < JOINED && end < bytes; joined++) {
    const next = image.pieceAt(offset + end, bytes - end)
    if (!follows(first, end, next)) break
    end += next.bytes
  }
  const status = { bytes: end, allocated: true }
  if (first.kind === 'zero') return { ...status, data: false, zero: true }
  if (first.kind === 'compressed') return { ...status, data: true, zero: false, compressed: true }
  if (first.kind === 'unknown') return { ...status, data: true, zero: false }
  return { ...status, data: true, zero: false, host: { child: image.file, offset: first.host } }
}

/** Whether a piece has the status of another, `done` bytes before it. */
const follows = (first: Piece, done: number, next: Piece): boolean =>
  first.kind === next.kind &&
  (first.kind !== 'raw' || (next.kind === 'raw' && next.host === first.host + done))
