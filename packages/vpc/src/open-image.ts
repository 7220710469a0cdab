/** Opens an image, and gives its operations. */
import {
  type BlockChild,
  BlockError,
  type NodeInfo,
  type NodeOps,
  type OpenContext,
  type PreparedReopen,
  SECTOR,
  type TruncateOptions,
} from '@vmblock/block-core/driver'
import { BlockImage } from './block-image.ts'
import { blockStatus, discard, read, write, writeZeroes } from './block-requests.ts'
import { type FoundFooter, findFooter } from './find-footer.ts'
import { FixedImage, fixedRequests } from './fixed-image.ts'
import { DiskType, type Footer, lettersOf, MAX_DISK, type SizeRule, uuidText } from './format/footer.ts'
import { openParent, parentNames, readTables } from './open-blocks.ts'
import { growBlocks } from './resize-blocks.ts'

/** What the driver is given. */
type Context = OpenContext<{ readonly force_size_calc: SizeRule | undefined }, 'file' | 'backing', never>

/** By the type in the footer. */
const SUBFORMATS: Readonly<Record<number, string>> = {
  [DiskType.fixed]: 'fixed',
  [DiskType.dynamic]: 'dynamic',
  [DiskType.differencing]: 'differencing',
}

/**
 * Opens an image of any kind.
 *
 * @throws BlockError in QEMU's words where it has some
 */
export async function openImage(context: Context): Promise<NodeOps> {
  const file = await context.requireChild('file')
  const found = await findFooter(file)
  return found.footer.type === DiskType.fixed
    ? openFixed(context, file, found)
    : openBlocks(context, file, found)
}

function openFixed(context: Context, file: BlockChild, found: FoundFooter): NodeOps {
  const rule = context.options.force_size_calc
  const image = new FixedImage(file)
  image.adopt(found, rule)
  return {
    ...fixedRequests(image),
    size: () => image.size,
    async truncate(size, options) {
      if (requireGrowth(image.size, size, options)) await image.grow(size)
    },
    info: async () => ({ formatSpecific: specificOf(image.footer) }),
    async prepareReopen({ readOnly }) {
      if (image.isChanged) await image.flush()
      else if (!readOnly) image.adopt(await findAgain(file, image.footer), rule)
      return NOTHING_TO_DO
    },
    close: () => (image.isChanged ? image.flush() : Promise.resolve()),
  }
}

const NOTHING_TO_DO: PreparedReopen = { commit() {}, abort() {} }

/** The footer of an image that others may have written to while it was read-only. */
async function findAgain(file: BlockChild, before: Footer): Promise<FoundFooter> {
  const found = await findFooter(file)
  if (found.footer.type !== before.type)
    throw new BlockError('EINVAL', 'the file holds an image of another kind now')
  return found
}

async function openBlocks(context: Context, file: BlockChild, found: FoundFooter): Promise<NodeOps> {
  const rule = context.options.force_size_calc
  const image = new BlockImage(file, context.nodeName)
  const tables = await readTables(file, found, rule)
  image.adopt(tables)
  if (tables.isCut)
    context.events.warn(
      `warning: '${context.filename}' holds data behind the end of its disk, which has ${image.size} bytes by its ` +
        'geometry: force_size_calc=current_size shows it',
    )
  const names = image.isDifferencing ? await parentNames(file, image.header) : []
  if (image.isDifferencing) image.backing = await openParent(context, names, image.header)
  if (!context.readOnly) becomeWritable(image)
  return {
    limits: { requestAlignment: SECTOR },
    zeroFlags: new Set(['mayUnmap']),
    size: () => image.size,
    read: (offset, into) => read(image, offset, into),
    write: (offset, from) => write(image, offset, from),
    writeZeroes: (offset, bytes, flags) => writeZeroes(image, offset, bytes, flags),
    discard: (offset, bytes) => discard(image, offset, bytes),
    blockStatus: (offset, bytes) => blockStatus(image, offset, bytes),
    flush: () => image.flush(),
    async truncate(size, options) {
      if (requireGrowth(image.size, size, options)) await growBlocks(image, size, options.zero === true)
    },
    info: async () => infoOf(image, names[0]),
    setBacking(backing) {
      image.backing = backing
    },
    async prepareReopen({ readOnly }) {
      const wasWritable = image.writable
      if (wasWritable && readOnly) await image.flush()
      if (!wasWritable && !readOnly) {
        image.adopt(await readTables(file, await findAgain(file, image.footer), rule))
        becomeWritable(image)
      }
      return {
        commit() {
          image.writable = !readOnly
        },
        abort() {
          image.writable = wasWritable
        },
      }
    },
    close: () => (image.writable && image.isChanged ? image.flush() : Promise.resolve()),
  }
}

function becomeWritable(image: BlockImage): void {
  image.requireSound()
  image.writable = true
}

/**
 * @returns whether there is anything to do
 * @throws BlockError ENOTSUP, EFBIG
 */
function requireGrowth(before: number, size: number, { preallocation = 'off' }: TruncateOptions): boolean {
  if (preallocation !== 'off')
    throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
  if (size % SECTOR !== 0) throw new BlockError('EINVAL', `The new size must be a multiple of ${SECTOR}`)
  if (size < before) throw new BlockError('ENOTSUP', 'Shrinking images is currently not supported')
  if (size > MAX_DISK) throw new BlockError('EFBIG', 'Disk size is too large, max size is 2040 GiB')
  return size > before
}

/** QEMU has no facts of VHDs alone. Overlays look here for the identity of their parent. */
const specificOf = (footer: Footer): NonNullable<NodeInfo['formatSpecific']> => ({
  type: 'vpc',
  data: {
    subformat: SUBFORMATS[footer.type]!,
    creator: lettersOf(footer.creator),
    uuid: uuidText(footer.idHigh, footer.idLow),
    timestamp: footer.time,
  },
})

function infoOf(image: BlockImage, backingFilename: string | undefined): NodeInfo {
  const { type, data } = specificOf(image.footer)
  const { parentHigh, parentLow } = image.header.values
  const parent = image.isDifferencing && { 'parent-uuid': uuidText(parentHigh, parentLow) }
  return {
    clusterSize: image.blockSize,
    ...(backingFilename !== undefined && { backingFilename, backingFormat: 'vpc' }),
    formatSpecific: { type, data: { ...data, ...parent } },
  }
}
