/** Moves blocks to other places of the data area, so that a power cut at any moment costs nothing. */
import { type JobControl, ZERO_BLOCK } from '@vmblock/block-core/driver'
import type { Image } from './image.ts'

/** Bytes that are copied at a time. */
const PIECE = 2 ** 20
/** Blocks whose copies become durable together. */
const BATCH = 16

/** A block, and where it goes. */
interface Move {
  readonly block: number
  /** The free place that it takes. */
  take(): number
}

/**
 * Copies blocks to free places, then has the map name these, then gives their old places back.
 *
 * @throws BlockError errors of the file; blocks are where they were, or at their new places
 */
async function moveBlocks(image: Image, moves: readonly Move[], control?: JobControl): Promise<void> {
  for (let done = 0; done < moves.length; done += BATCH) {
    const held = control?.checkpoint()
    if (held) await held
    control?.report(done, moves.length)
    const left: number[] = []
    for (const { block, take } of moves.slice(done, done + BATCH)) {
      const old = image.offsets[block]!
      const place = take()
      try {
        await copyBlock(image, old, image.offsetOf(place))
      } catch (error) {
        image.places.free(place)
        throw error
      }
      image.map.link(block, image.offsetOf(place))
      left.push(image.placeOf(old))
    }
    await image.map.flush()
    for (const place of left) image.places.free(place)
  }
}

async function copyBlock({ file, header }: Image, from: number, to: number): Promise<void> {
  const piece = new Uint8Array(Math.min(PIECE, header.blockSize))
  for (let at = 0; at < header.blockSize; at += piece.length) {
    await file.read(from + at, piece)
    await file.write(to + at, piece)
  }
}

/** The blocks whose places lie in a range. */
function blocksIn(image: Image, first: number, end: number): number[] {
  const blocks: number[] = []
  image.offsets.forEach((offset, block) => {
    if (offset <= ZERO_BLOCK) return
    const place = image.placeOf(offset)
    if (place >= first && place < end) blocks.push(block)
  })
  return blocks
}

/** Moves what lies in the first places, before the data area loses them. */
export const emptyFirstPlaces = (image: Image, count: number): Promise<void> =>
  moveBlocks(
    image,
    blocksIn(image, 0, count).map((block) => ({ block, take: () => image.places.take(count) })),
  )

/**
 * Moves the last blocks to free places, so that as many places are in use as there are blocks; then the header counts them,
 * and the file ends behind them. Only then can QEMU write to the image safely.
 *
 * @throws BlockError errors of the file
 */
export async function closeGaps(image: Image, control?: JobControl): Promise<void> {
  await image.map.flush()
  const count = image.offsets.reduce((sum, offset) => sum + (offset > ZERO_BLOCK ? 1 : 0), 0)
  const moves = blocksIn(image, count, Number.POSITIVE_INFINITY)
  await moveBlocks(
    image,
    moves.map((block) => ({ block, take: () => image.places.take() })),
    control,
  )
  if (image.header.allocatedBlocks !== count) await image.writeHeader({ allocatedBlocks: count })
  if (image.file.size > image.offsetOf(count))
    await image.file.truncate(image.offsetOf(count), { exact: true })
}
