/** Everything about internal snapshots that an image needs when one is made, applied, deleted or opened: loaded late. */
import type { SnapshotOps } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { applySnapshot } from './apply.ts'
import { createSnapshot } from './create.ts'
import { deleteSnapshot } from './delete.ts'
import { openSnapshot } from './view.ts'

/** The operations of one image. */
export const snapshotOps = (image: Image): SnapshotOps => ({
  create: async (settings) => createSnapshot(image, settings),
  apply: async (choice) => applySnapshot(image, choice),
  delete: (choice) => deleteSnapshot(image, choice),
  open: (choice, backing) => openSnapshot(image, choice, backing),
})
export { openImage as start } from '../open/start.ts'
