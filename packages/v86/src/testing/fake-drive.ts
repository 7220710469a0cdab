/**
 * The drive of v86 with its traps, as it calls a disk: under PIO it interrupts before it writes, does not wait, and gives a view of
 * a buffer that it uses again; a reset forgets what it waited for, and an answer that comes all the same ends whatever is running.
 */
import type { V86Buffer } from '../v86-interface.ts'

/** One drive, which does one thing at a time as v86's does. */
export class FakeDrive {
  readonly #disk: V86Buffer
  /** What every PIO transfer goes through. */
  readonly #data = new Uint8Array(2 ** 17)
  #running: { abort: AbortController; cancelled: boolean } | undefined
  /** Answers to requests that had been given up by a reset: v86 would take each for the end of the one that runs now. */
  spurious = 0

  constructor(disk: V86Buffer) {
    this.#disk = disk
  }

  /** Returns at once, as the guest's interrupt does. */
  writeByPio(start: number, bytes: Uint8Array): void {
    const view = this.#data.subarray(0, bytes.length)
    view.set(bytes)
    this.#disk.set(start, view, () => undefined)
    // The next command is on its way already.
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
          // v86 itself sees to reads that were given up.
          if (!mine.cancelled) resolve(data)
        },
        { signal: mine.abort.signal },
      ),
    )
  }

  /** The guest has waited long enough. */
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
