/** Errors of operations on snapshots. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'

/** An error of an operation on snapshots. */
export const refusal = (image: Image, code: BlockError['code'], message: string): BlockError =>
  new BlockError(code, message, { node: image.settings.nodeName })
