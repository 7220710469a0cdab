/**
 * How much one request may look at. Tables that lie in holes, or in one place again and again, cost time that nobody
 * paid for in the file; of what is stored, each byte may be looked at twice.
 */
import type { Image } from '../image/image.ts'

/** Bytes of tables that any request may look at: some seconds' worth. */
const BYTES = 2 ** 28

/** What one request has looked at so far. */
export class Effort {
  readonly #image: Image
  #left = BYTES
  #isExtended = false

  constructor(image: Image) {
    this.#image = image
  }

  /** Bytes are about to be looked at. @returns whether it has to be asked now if that {@link isTooMuch} */
  take(bytes: number): boolean {
    this.#left -= bytes
    return this.#left < 0
  }

  /** Whether it is more than the file can be the reason for. Few requests get so far that the file has to be asked. */
  async isTooMuch(): Promise<boolean> {
    if (this.#isExtended) return this.#left < 0
    this.#isExtended = true
    const { file } = this.#image
    const actualSize = (await file.node.info()).actualSize || file.size
    this.#left += 2 * actualSize
    return this.#left < 0
  }
}
