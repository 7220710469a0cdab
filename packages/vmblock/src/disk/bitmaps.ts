/** The bitmaps of a disk. The code for them is loaded late; a list of names is shorter than a function for each. */
import type { Bitmaps } from '@vmblock/block-core'
import type { Disk } from '@vmblock/block-core/open'
import type { loadImages } from './load-images.ts'

const METHODS = [
  'isSupported',
  'list',
  'add',
  'remove',
  'clear',
  'enable',
  'disable',
  'merge',
  'dirtyRanges',
] as const satisfies (keyof Bitmaps)[]

/** @param node throws BlockError ENOMEDIUM if the disk is closed */
export function diskBitmaps(node: () => Disk, load: typeof loadImages): Bitmaps {
  const late =
    (method: keyof Bitmaps) =>
    async (...given: readonly never[]) => {
      const open = node()
      const run = (await load()).bitmapsOf(open)[method] as (...given: readonly never[]) => unknown
      return run(...given)
    }
  return Object.fromEntries(METHODS.map((method) => [method, late(method)])) as unknown as Bitmaps
}
