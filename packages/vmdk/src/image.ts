/** One open image: its descriptor, its extents in the order of the disk, and the parent that shows through. */
import {
  type BlockChild,
  BlockError,
  type BlockStatus,
  inParts,
  joinedStatus,
  type WriteFlags,
} from '@vmblock/block-core/driver'
import type { Extent } from './extents/extent.ts'
import { type Descriptor, NO_PARENT, withCid } from './format/descriptor.ts'
import type { Parent } from './parent.ts'

/** Where the descriptor is in the image's own file, in bytes. */
export interface DescriptorPlace {
  readonly offset: number
  /** What is there now. */
  space: Uint8Array
  /** Bytes that it may have. */
  readonly most: number
}

/** The parts of an {@link Image}. */
export interface ImageParts {
  readonly nodeName: string
  readonly file: BlockChild
  readonly extents: readonly Extent[]
  readonly parent: Parent
  readonly descriptor: Descriptor
  readonly createType: string
  readonly place: DescriptorPlace
}

/** See the head of this file. */
export class Image {
  readonly nodeName: string
  readonly file: BlockChild
  readonly extents: readonly Extent[]
  readonly parent: Parent
  readonly descriptor: Descriptor
  readonly createType: string
  /** Bytes of the disk. */
  readonly size: number
  /** The content id; undefined: the image has none. */
  cid: number | undefined
  readonly #place: DescriptorPlace
  /** The content counts as changed since the image was opened: a child that was made over it must not show it. */
  #changed: Promise<void> | undefined
  #isChanged = false

  constructor(parts: ImageParts) {
    this.nodeName = parts.nodeName
    this.file = parts.file
    this.extents = parts.extents
    this.parent = parts.parent
    this.descriptor = parts.descriptor
    this.createType = parts.createType
    this.cid = parts.descriptor.cid
    this.#place = parts.place
    const last = parts.extents.at(-1)
    this.size = last ? last.start + last.bytes : 0
  }

  /** The extent at a guest offset within the disk. */
  extentAt(offset: number): Extent {
    const { extents } = this
    let from = 0
    let to = extents.length - 1
    while (from < to) {
      const middle = (from + to + 1) >>> 1
      if (extents[middle]!.start <= offset) from = middle
      else to = middle - 1
    }
    return extents[from]!
  }

  /** Fills `into` from a guest offset. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#each(offset, into.length, (extent, at, done, bytes) =>
      extent.read(at, bytes === into.length ? into : into.subarray(done, done + bytes)),
    )
  }

  /** Writes `from` at a guest offset. */
  async write(offset: number, from: Uint8Array): Promise<void> {
    if (!this.#isChanged) await this.#markChanged()
    await this.#each(offset, from.length, (extent, at, done, bytes) =>
      extent.write(at, bytes === from.length ? from : from.subarray(done, done + bytes)),
    )
  }

  /** Zeroes a guest range. @throws BlockError ENOTSUP if zeroes have to be written as data */
  async writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    if (!this.#isChanged) await this.#markChanged()
    await this.#each(offset, bytes, (extent, at, _, part) => extent.writeZeroes(at, part, flags))
  }

  /** Gives up a guest range, where extents can. */
  async discard(offset: number, bytes: number): Promise<void> {
    if (!this.#isChanged) await this.#markChanged()
    await this.#each(offset, bytes, (extent, at, _, part) => extent.discard(at, part))
  }

  /** The status of the longest run at a guest offset. */
  blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    return joinedStatus(bytes, (done, left) => {
      const extent = this.extentAt(offset + done)
      const at = offset + done - extent.start
      return extent.status(at, Math.min(left, extent.bytes - at))
    })
  }

  /** Makes everything durable. */
  async flush(): Promise<void> {
    for (const extent of this.extents) await extent.flush()
    if (!this.extents.some(({ file }) => file === this.file)) await this.file.flush()
  }

  /** Forgets what is not on disk. */
  drop(): void {
    for (const extent of this.extents) extent.drop()
  }

  /** @throws BlockError if an extent cannot be written, or the descriptor says that it must not be */
  requireWritable(): void {
    for (const line of this.descriptor.extents)
      if (line.access === 'RDONLY' && line.sectors > 0)
        throw new BlockError('EACCES', `The image is read-only: ${line.text}`, { node: this.nodeName })
    for (const extent of this.extents) extent.requireWritable()
  }

  /** Splits a request at the borders of extents. */
  async #each(
    offset: number,
    bytes: number,
    run: (extent: Extent, at: number, done: number, bytes: number) => Promise<void>,
  ): Promise<void> {
    const extent = this.extentAt(offset)
    const at = offset - extent.start
    if (at + bytes <= extent.bytes) return run(extent, at, 0, bytes)
    await inParts(bytes, async (done, parts) => {
      const each = this.extentAt(offset + done)
      const from = offset + done - each.start
      const part = Math.min(bytes - done, each.bytes - from)
      await parts.add(() => run(each, from, done, part))
      return part
    })
  }

  /** Gives the image a new content id, durably, before its content changes: QEMU does it after the first write. */
  #markChanged(): Promise<void> {
    this.#changed ??= this.#newCid().finally(() => {
      this.#changed = undefined
    })
    return this.#changed
  }

  async #newCid(): Promise<void> {
    if (this.cid !== undefined) {
      let cid = this.cid
      while (cid === this.cid || cid === NO_PARENT || cid === 0) cid = Math.floor(Math.random() * 2 ** 32)
      const { offset, space, most } = this.#place
      const change = withCid(space, cid, most)
      if (change) {
        await this.file.write(offset + change.offset, change.bytes)
        await this.file.flush()
        const next = new Uint8Array(Math.max(space.length, change.offset + change.bytes.length))
        next.set(space)
        next.set(change.bytes, change.offset)
        this.#place.space = next
      }
      this.cid = cid
    }
    this.#isChanged = true
  }
}
