/** The VDI driver: one object, whose operations are in the other files of this folder. */
import {
  defineDriver,
  loadOnce,
  type NodeOps,
  type PreparedReopen,
  type WriteFlag,
} from '@vmblock/block-core/driver'
import { vdiCreation } from './create.ts'
import { hasSignature } from './format/header.ts'
import { Image } from './image.ts'

/** Flags that the file below handles. */
const ZERO_FLAGS: ReadonlySet<WriteFlag> = new Set(['mayUnmap'])

/** @throws BlockError EIO if the code cannot be loaded */
const loadUpkeep = loadOnce('repairing and resizing vdi images', () => import('./upkeep.ts'))

/** The VDI format driver: VirtualBox's images, dynamic and fixed ones. */
export const vdi = defineDriver({
  name: 'vdi',
  kind: 'format',
  creation: async () => vdiCreation,
  probe: (head) => (hasSignature(head) ? 100 : 0),

  async open(context): Promise<NodeOps> {
    const file = await context.requireChild('file')
    let image = await Image.load(file)
    let isWritable = !context.readOnly
    if (isWritable && !context.checkMode) image.becomeWritable()

    return {
      zeroFlags: ZERO_FLAGS,
      size: () => image.size,
      read: (offset, into) => image.map.read(offset, into),
      write: (offset, from) => image.map.write(offset, from),
      writeZeroes: (offset, bytes, { mayUnmap }) => image.map.writeZeroes(offset, bytes, mayUnmap === true),
      discard: (offset, bytes) => image.map.discard(offset, bytes),
      async blockStatus(offset, bytes) {
        const status = await image.map.blockStatus(offset, bytes)
        // A fixed image is as a plain file: the file knows where nothing was ever written.
        return image.header.isFixed && status.data ? { ...status, recurse: true } : status
      },
      flush: () => image.map.flush(),
      truncate: async (size, options) => (await loadUpkeep()).truncate(image, size, options),
      check: async (options, control) => (await loadUpkeep()).checkImage(image, isWritable, options, control),
      info: async () => ({ clusterSize: image.header.blockSize }),
      async prepareReopen({ readOnly }): Promise<PreparedReopen> {
        const before = image
        if (isWritable && readOnly) await image.map.flush()
        if (!isWritable && !readOnly) {
          // Another program may have written meanwhile.
          image = await Image.load(file)
          try {
            image.becomeWritable()
          } catch (error) {
            image = before
            throw error
          }
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
      close: () => (isWritable ? image.map.flush() : Promise.resolve()),
    }
  },
})
