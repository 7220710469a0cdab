/**
 * The dirty bit in the header: while it is on disk, refcounts may lag behind, and the next open for writing
 * recomputes them. Set before the first write that relies on it, cleared when everything is durable.
 */
import { Incompatible } from '../format/features.ts'
import type { FileLength } from './file-length.ts'
import type { HeaderWriter } from './header-writer.ts'
import { beforeClean, type Ordered } from './write-order.ts'

/** The part of an open image that the bit needs. */
export interface Dirtied extends Ordered {
  readonly headerWriter: HeaderWriter
  readonly fileLength: FileLength
}

/** The dirty bit of one image. */
export class DirtyBit {
  readonly #image: Dirtied
  /**
   * The bit was found set, or emptying the image failed: {@link clear} does nothing. A complete
   * repair turns this off.
   */
  needsRepair = false

  constructor(image: Dirtied) {
    this.#image = image
    this.refresh()
  }

  /** The bit is on disk. */
  get isSet(): boolean {
    return (this.#image.headerWriter.header.incompatible & Incompatible.dirty) !== 0n
  }

  /** Called when the header was read: a bit that is set then was left by a crash. */
  refresh(): void {
    this.needsRepair = this.isSet
  }

  /**
   * Sets the bit and flushes, if it is not set yet. The image counts as dirty only after success.
   *
   * @throws the error of the file
   */
  async set(): Promise<void> {
    if (this.isSet) return
    const { fileLength, headerWriter } = this.#image
    // The flush of the bit makes this length durable, too.
    await fileLength.extend(fileLength.untouchedFrom)
    await headerWriter.setFeature(Incompatible.dirty, true, 'either is valid')
  }

  /**
   * Clears the bit, once everything that it covers is durable; nothing is done while a repair is needed (QEMU
   * always clears the bit at close).
   *
   * @throws the error of the file
   */
  async clear(): Promise<void> {
    if (!this.isSet || this.needsRepair) return
    const { fileLength, headerWriter } = this.#image
    await fileLength.trim()
    await beforeClean(this.#image)
    // If the write fails, the bit may be gone from the disk: it counts as clear until it is set again.
    headerWriter.assumeFeature(Incompatible.dirty, false)
    await headerWriter.setFeature(Incompatible.dirty, false)
  }
}
