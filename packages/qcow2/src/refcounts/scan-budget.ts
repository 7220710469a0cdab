/**
 * Limits how many bytes of tables one request may read. Tables in holes, or one table that is referenced many
 * times, would cost time out of proportion to the size of the file. Each stored byte may be read twice.
 */
import type { Image } from '../image/image.ts'

/** Bytes of tables that any request may read: this takes some seconds. */
const BYTES = 2 ** 28

/** The bytes that one request may still read. */
export class ScanBudget {
  readonly #image: Image
  #left = BYTES
  #isExtended = false

  constructor(image: Image) {
    this.#image = image
  }

  /** Counts bytes that are about to be read. @returns true when the budget is gone and must be extended */
  spend(bytes: number): boolean {
    this.#left -= bytes
    return this.#left < 0
  }

  /**
   * Extends the budget, once, to what a file of this size can contain. Few requests read so much that the
   * size of the file has to be queried.
   *
   * @returns whether the request may go on
   */
  async extend(): Promise<boolean> {
    if (this.#isExtended) return this.#left >= 0
    this.#isExtended = true
    const { file } = this.#image
    const actualSize = (await file.node.info()).actualSize || file.size
    this.#left += 2 * actualSize
    return this.#left >= 0
  }
}
