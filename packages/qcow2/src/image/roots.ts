/**
 * The roots, from which all other structures are found: the header, and the refcount table it points at; and what a
 * failed write of one leaves behind.
 */

/** Knows which parts of the roots the disk may hold in the old state or in the new one, because a write failed. */
export class Roots {
  readonly #unsure = new Set<() => Promise<void>>()

  /**
   * Runs a change to a root on disk. If it fails, the structures of the old root and of the new one must stay
   * until the next flush, which writes the same part again from memory.
   *
   * @param again writes that part as it is in memory; does not flush
   * @throws the error of the change
   */
  async change(change: () => Promise<void>, again: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      this.#unsure.add(again)
      throw error
    }
  }

  /** Writes the parts whose state on disk is unknown. Does not flush. @throws the error of the file */
  async rewriteUnsure(): Promise<void> {
    for (const again of this.#unsure) {
      await again()
      this.#unsure.delete(again)
    }
  }
}
