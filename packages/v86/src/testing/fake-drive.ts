/**
 * Calls a disk as v86's drive does, with its traps: under PIO the drive interrupts before it writes, does not
 * wait, and passes a view of a buffer that it reuses; after a reset, a late answer to an abandoned request
 * ends the one that runs then.
 */
import type { V86Buffer } from '../machine/v86-interface.ts'

/** A drive that does one thing at a time, as v86's does. */
export class FakeDrive {
  readonly #disk: V86Buffer
  /** The buffer of all PIO transfers. */
  readonly #data = new Uint8Array(2 ** 17)
  #running: { abort: AbortController; cancelled: boolean } | undefined
  /** Counts answers to requests before a reset: v86 would take each for the end of the current request. */
  spurious = 0

  constructor(disk: V86Buffer) {
    this.#disk = disk
  }

  /** Returns at once, as the guest's interrupt does. */
  writeByPio(start: number, bytes: Uint8Array): void {
    const view = this.#data.subarray(0, bytes.length)
    view.set(bytes)
    this.#disk.set(start, view, () => undefined)
    // The next command already reuses the buffer.
    this.#data.fill(0xee)
  }

  /** Resolves with the interrupt. */
  writeByDma(start: number, bytes: Uint8Array): Promise<void> {
    const mine = this.#begin()
    return new Promise((resolve) =>
      this.#disk.set(start, bytes.slice(), () => {
        if (mine.cancelled) this.spurious++
        else resolve()
      }),
    )
  }

  read(start: number, length: number): Promise<Uint8Array> {
    const mine = this.#begin()
    return new Promise((resolve) =>
      this.#disk.get(
        start,
        length,
        (data) => {
          // v86 itself ignores answers to abandoned reads.
          if (!mine.cancelled) resolve(data)
        },
        { signal: mine.abort.signal },
      ),
    )
  }

  /** The guest times out and resets the drive. */
  reset(): void {
    if (!this.#running) return
    this.#running.cancelled = true
    this.#running.abort.abort()
  }

  #begin(): { abort: AbortController; cancelled: boolean } {
    this.#running = { abort: new AbortController(), cancelled: false }
    return this.#running
  }
}
