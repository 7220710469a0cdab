/** The progress of an amendment that consists of several operations, in the proportions of block/qcow2.c. */
import type { JobControl } from '@vmblock/block-core/driver'

/** Makes the control of each operation; what has not begun is taken to be as much work as what has. */
export class AmendProgress {
  readonly #control: JobControl
  readonly #operations: number
  #completed = 0
  #done = 0
  #last = 0

  /** @param operations how many will report */
  constructor(control: JobControl, operations: number) {
    this.#control = control
    this.#operations = operations
  }

  /** The control of the next operation. */
  next(): JobControl {
    if (this.#last > 0) {
      this.#completed++
      this.#done += this.#last
      this.#last = 0
    }
    const [completed, done] = [this.#completed, this.#done]
    return {
      ...this.#control,
      checkpoint: (drain) => this.#control.checkpoint(drain),
      report: (at, total) => {
        this.#last = total
        const begun = done + total
        const rest = Math.floor((begun * (this.#operations - completed - 1)) / (completed + 1))
        this.#control.report(done + at, begun + rest)
      },
    }
  }
}
