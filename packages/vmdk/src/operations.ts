/** The operations of one open image. */
import {
  isPowerOfTwo,
  type NodeOps,
  type PreparedReopen,
  type ReopenRequest,
} from '@vmblock/block-core/driver'
import type { Image } from './image.ts'
import { infoOf } from './info.ts'
import { loadCheck } from './load-check.ts'
import { openImage, type VmdkContext } from './open-image.ts'

/** Opens an image. @throws BlockError in QEMU's words */
export async function open(context: VmdkContext): Promise<NodeOps> {
  return operations(await openImage(context), !context.readOnly)
}

function operations(image: Image, isWritable: boolean): NodeOps {
  const state = { isWritable }
  const grainSizes = image.extents.map(({ grainSize }) => grainSize).filter((each) => each > 0)
  const grain = Math.max(1, ...grainSizes)
  return {
    limits: isPowerOfTwo(grain) ? { writeZeroesAlignment: grain, compressedAlignment: grain } : {},
    zeroFlags: new Set(['mayUnmap']),
    size: () => image.size,
    read: (offset, into) => image.read(offset, into),
    write: (offset, from) => image.write(offset, from),
    // In a stream, every write is compressed; elsewhere, QEMU writes plain grains, too.
    writeCompressed: (offset, from) => image.write(offset, from),
    writeZeroes: (offset, bytes, flags) => image.writeZeroes(offset, bytes, flags),
    // Grains cannot be given back; the bytes of a flat extent can.
    discard: grainSizes.length > 0 ? undefined : (offset, bytes) => image.discard(offset, bytes),
    blockStatus: (offset, bytes) => image.blockStatus(offset, bytes),
    flush: () => image.flush(),
    check: async (options, control) =>
      (await loadCheck()).checkImage(image, state.isWritable, options, control),
    info: () => infoOf(image),
    setBacking(backing) {
      image.parent.backing = backing
    },
    prepareReopen: (request) => prepareReopen(image, state, request),
    async close() {
      try {
        if (state.isWritable) await image.flush()
      } finally {
        image.drop()
      }
    },
    crash: () => image.drop(),
  }
}

async function prepareReopen(
  image: Image,
  state: { isWritable: boolean },
  { readOnly }: ReopenRequest,
): Promise<PreparedReopen> {
  if (state.isWritable && readOnly) await image.flush()
  if (!state.isWritable && !readOnly) image.requireWritable()
  return {
    commit() {
      state.isWritable = !readOnly
    },
    abort() {},
  }
}
