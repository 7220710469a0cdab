/** The LUKS header and key slots of an image: an area of its file that the header extension locates. */
import { BlockError } from '@vmblock/block-core/driver'
import type { LuksStore } from '@vmblock/crypto'

/** A file, as far as the area needs it. */
interface AreaFile {
  readonly size: number
  read(offset: number, into: Uint8Array): Promise<void>
  write(offset: number, from: Uint8Array): Promise<void>
  flush(): Promise<void>
}

/** Where the area is, in bytes. */
interface Area {
  readonly offset: number
  readonly length: number
}

/** The area as a store for key slots. */
export function luksArea(file: AreaFile, { offset, length }: Area): LuksStore {
  const requireInside = (at: number, bytes: number): void => {
    if (at + bytes > length) throw new BlockError('EINVAL', 'Request for data outside of extension header')
  }
  return {
    async read(at, into) {
      requireInside(at, into.length)
      const there = Math.min(into.length, Math.max(file.size - offset - at, 0))
      if (there > 0) await file.read(offset + at, into.subarray(0, there))
      into.fill(0, there)
    },
    async write(at, from) {
      requireInside(at, from.length)
      await file.write(offset + at, from)
    },
    flush: () => file.flush(),
  }
}
