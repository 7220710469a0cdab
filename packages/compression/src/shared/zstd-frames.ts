/**
 * The zstd frames of a block (RFC 8878). They are parsed here, whatever decodes them: so data behind them is never
 * read, and hostile headers cannot demand a huge window, or keep a decoder busy with nothing.
 */

const MAGIC = 0xfd2f_b528
const SKIPPABLE = 0x184d_2a50
/** The largest block, and so the smallest useful window: 128 KiB. */
const MIN_WINDOW_LOG = 17

interface Frame {
  /** Bytes. */
  readonly length: number
  readonly blocks: number
  readonly skippable: boolean
  /** The frame declares no window: its content is one piece of the declared size. */
  readonly singleSegment: boolean
  /** Bytes of content, if declared. */
  readonly contentSize: number | undefined
}

const truncated = (): Error => new Error('The zstd data ends within a frame')

function contentSizeAt(view: DataView, at: number, width: number): number {
  switch (width) {
    case 1:
      return view.getUint8(at)
    case 2:
      return view.getUint16(at, true) + 256
    case 4:
      return view.getUint32(at, true)
    default:
      return Number(view.getBigUint64(at, true))
  }
}

/** The first frame in `data`. */
function frameOf(data: Uint8Array): Frame {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (data.length < 8) throw truncated()
  const magic = view.getUint32(0, true)
  if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE)
    return {
      length: 8 + view.getUint32(4, true),
      blocks: 0,
      skippable: true,
      singleSegment: false,
      contentSize: undefined,
    }
  if (magic !== MAGIC) throw new Error('No zstd frame')

  const descriptor = data[4]!
  const singleSegment = (descriptor & 0x20) !== 0
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!
  const sizeFlag = descriptor >>> 6
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag
  const sizeAt = 5 + (singleSegment ? 0 : 1) + dictionaryBytes
  let at = sizeAt + sizeBytes
  if (at > data.length) throw truncated()
  const contentSize = sizeBytes === 0 ? undefined : contentSizeAt(view, sizeAt, sizeBytes)

  let blocks = 0
  for (let last = false; !last; blocks++) {
    if (at + 3 > data.length) throw truncated()
    const header = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16)
    last = (header & 1) !== 0
    const runLength = ((header >>> 1) & 3) === 1
    at += 3 + (runLength ? 1 : header >>> 3)
  }
  const length = at + ((descriptor & 4) !== 0 ? 4 : 0)
  if (length > data.length) throw truncated()
  return { length, blocks, skippable: false, singleSegment, contentSize }
}

/**
 * The frame, with a window no larger than `clusterSize` needs: no match reaches back before the beginning of
 * the frame, so a larger one would only cost memory.
 */
function withSmallWindow(frame: Uint8Array, clusterSize: number): Uint8Array {
  const log = Math.max(MIN_WINDOW_LOG, Math.ceil(Math.log2(clusterSize)))
  if (frame[5]! >>> 3 <= log - 10) return frame
  const copy = frame.slice()
  copy[5] = (log - 10) << 3
  return copy
}

/**
 * Blocks that may be decoded for one cluster. The decoder moves its whole window for each block, and
 * allocates one for each frame: 4 MiB of one-byte blocks took half a minute, as many empty frames three.
 * Encoders make blocks of 128 KiB.
 */
const blocksAllowed = (clusterSize: number): number => 64 + clusterSize / 512
/** Blocks that a frame counts for, in addition to its own. */
const FRAME = 16

/** Decodes a frame. @param into has room for what it may give @returns bytes @throws Error if it is broken, or gives more */
type DecodeFrame = (frame: Uint8Array, into: Uint8Array) => number | Promise<number>

/**
 * Decodes frames until they have filled `into`.
 *
 * @throws Error if the data is broken, ends early, is in too many pieces, or its last frame gives more
 */
export async function decodeFrames(data: Uint8Array, into: Uint8Array, decode: DecodeFrame): Promise<void> {
  const size = into.length
  let rest = data
  let blocksLeft = blocksAllowed(size)
  for (let filled = 0; filled < size; ) {
    const frame = frameOf(rest)
    const bytes = rest.subarray(0, frame.length)
    rest = rest.subarray(frame.length)
    if (frame.skippable) continue
    blocksLeft -= FRAME + frame.blocks
    if (blocksLeft < 0) throw new Error('The zstd data is in more pieces than a cluster can be')
    const room = into.subarray(filled)
    if ((frame.contentSize ?? 0) > room.length) throw new Error('The zstd data gives more than a cluster')
    filled += await decode(frame.singleSegment ? bytes : withSmallWindow(bytes, size), room)
  }
}
