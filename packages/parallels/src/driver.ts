/** The Parallels driver: one object, whose operations are in the other files of this folder. */
import {
  type BlockChild,
  BlockError,
  cow,
  type DriverEvents,
  defineDriver,
  loadOnce,
  messageOf,
  type NodeOps,
  oneOf,
  type PreparedReopen,
  size,
  storage,
  UNCONTROLLED,
  type WriteFlag,
} from '@vmblock/block-core/driver'
import { parallelsCreation } from './create.ts'
import { isDescriptor } from './format/descriptor.ts'
import { ExtensionError } from './format/extension.ts'
import { isParallels } from './format/header.ts'
import { Image } from './image.ts'

/** Flags that the file below handles. */
const ZERO_FLAGS: ReadonlySet<WriteFlag> = new Set(['mayUnmap'])

/** @throws BlockError EIO if the code cannot be loaded */
const loadUpkeep = loadOnce('repairing parallels images', () => import('./upkeep.ts'))

/** With the texts of QEMU. */
const options = {
  preallocSize: size('Preallocation size on image expansion', 2 ** 27),
  preallocMode: oneOf(
    ['falloc', 'truncate'],
    'Preallocation mode on image expansion (allowed values: falloc, truncate)',
    'falloc',
  ),
}

/** The Parallels format driver: images of Parallels Desktop and Virtuozzo (.hds), and of QEMU. */
export const parallels = defineDriver({
  name: 'parallels',
  kind: 'format',
  children: { file: storage, backing: cow },
  options,
  creation: async () => parallelsCreation,
  // A descriptor is guessed, too: opened as raw, it would be a disk of text.
  probe: (head) => (isParallels(head) || isDescriptor(head) ? 100 : 0),

  async open(context): Promise<NodeOps> {
    const { filename, events, checkMode } = context
    const { preallocSize, preallocMode } = context.options
    const file = await context.requireChild('file')
    let backing: BlockChild | undefined
    const load = (): Promise<Image> =>
      Image.load(file, filename, { bytes: preallocSize, reserves: preallocMode === 'falloc' }, backing)
    let image = await load()
    backing = await context.child('backing')
    image.backing = backing
    let isWritable = !context.readOnly
    if (context.readOnly) await image.readExtension()
    else await prepareWrites(image, events, checkMode)

    return {
      zeroFlags: ZERO_FLAGS,
      size: () => image.header.diskSize,
      read: (offset, into) => image.map.read(offset, into),
      write: (offset, from) => image.map.write(offset, from),
      writeZeroes: (offset, bytes, { mayUnmap }) => image.map.writeZeroes(offset, bytes, mayUnmap === true),
      async discard(offset, bytes) {
        await image.beforeWrite()
        await image.map.discard(offset, bytes)
      },
      blockStatus: (offset, bytes) => image.map.blockStatus(offset, bytes),
      flush: () => image.map.flush(),
      check: async (given, control) => (await loadUpkeep()).checkImage(image, isWritable, given, control),
      // QEMU tells no cluster size.
      info: async () => ({ dirty: image.isInUse }),
      bitmaps: async () => (await loadUpkeep()).bitmapsOf(image),
      setBacking(changed) {
        backing = changed
        image.backing = changed
      },
      async prepareReopen({ readOnly }): Promise<PreparedReopen> {
        const before = image
        if (isWritable && readOnly) await image.finish()
        if (!isWritable && !readOnly) {
          // Another program may have written meanwhile.
          const again = await load()
          await prepareWrites(again, events, false)
          image = again
        }
        return {
          commit() {
            isWritable = !readOnly
          },
          abort() {
            image = before
          },
        }
      },
      close: () => (isWritable ? image.finish() : Promise.resolve()),
    }
  },
})

/**
 * Prepares for the first write. An image that was not closed is repaired before, as newer versions of QEMU do.
 *
 * @throws BlockError EACCES in QEMU's words if it cannot be repaired; EINVAL if a write could do damage; ENOTSUP if the
 *   extension forbids it
 */
async function prepareWrites(image: Image, events: DriverEvents, checkMode: boolean): Promise<void> {
  try {
    await image.readExtension()
    if (image.extension && !checkMode)
      events.warn('the Format Extension, with the dirty bitmaps in it, is dropped at the first write')
  } catch (error) {
    if (!(error instanceof ExtensionError)) throw error
    if (error.forbidsWrites && !checkMode)
      throw new BlockError('ENOTSUP', `${messageOf(error)}, so the image cannot be written`)
    if (!checkMode) events.warn(`the Format Extension is dropped at the first write: ${messageOf(error)}`)
  }
  if (checkMode) return
  if (image.isInUse) {
    const { checkImage } = await loadUpkeep()
    events.repair(await checkImage(image, false, { repair: 'all' }, UNCONTROLLED))
    if (image.isInUse)
      throw new BlockError('EACCES', 'parallels: Image was not closed correctly; cannot be opened read/write')
  }
  image.becomeWritable()
}
