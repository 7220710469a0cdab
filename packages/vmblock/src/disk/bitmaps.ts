/** The bitmaps of a disk. The code for them is loaded late. */
import type { Bitmaps } from '@vmblock/block-core'
import type { Disk } from '@vmblock/block-core/open'
import type { loadImages } from './load-images.ts'

/** @param node throws BlockError ENOMEDIUM if the disk is closed */
export function diskBitmaps(node: () => Disk, load: typeof loadImages): Bitmaps {
  const of = async (): Promise<Bitmaps> => {
    const open = node()
    return (await load()).bitmapsOf(open)
  }
  return {
    isSupported: async () => (await of()).isSupported(),
    list: async () => (await of()).list(),
    add: async (name, options) => (await of()).add(name, options),
    remove: async (name) => (await of()).remove(name),
    clear: async (name) => (await of()).clear(name),
    enable: async (name) => (await of()).enable(name),
    disable: async (name) => (await of()).disable(name),
    merge: async (name, source, from) => (await of()).merge(name, source, from),
    dirtyRanges: async (name) => (await of()).dirtyRanges(name),
  }
}
