/** The structures from which all others are found, and what a failed write of one leaves behind. */

/** The header, and the refcount table it points at. */
export type Root = 'header' | 'refcountTable'

/** Knows which roots the disk may hold in the old state or in the new one, because a write failed. */
export class Roots {
  readonly #write: Readonly<Record<Root, () => Promise<void>>>
  readonly #unsure = new Set<Root>()

  /** @param write writes each root from memory; does not flush */
  constructor(write: Readonly<Record<Root, () => Promise<void>>>) {
    this.#write = write
  }

  /**
   * Runs a change to a root on disk. If it fails, the structures of the old root and of the new one must stay
   * until the next flush, which writes the root again from memory.
   *
   * @throws the error of the change
   */
  async change(root: Root, change: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      this.#unsure.add(root)
      throw error
    }
  }

  /** Writes the roots whose state on disk is unknown. Does not flush. @throws the error of the file */
  async rewriteUnsure(): Promise<void> {
    for (const root of this.#unsure) {
      await this.#write[root]()
      this.#unsure.delete(root)
    }
  }
}
