/** The observers of one node. While one of them has a `before`, changes that overlap run one after another. */
import { RangeTracker } from '../base/range-tracker.ts'
import type { Change, ChangeObserver, ReadOld } from '../contract/changes.ts'

/** One call of {@link Observers.add}. */
interface Observation {
  readonly observer: ChangeObserver
}

/** Tells observers of changes, before and after each. */
export class Observers {
  /** Replaced as a whole, so that it can change while it is walked. */
  #all: readonly Observation[] = []
  readonly #ranges = new RangeTracker()
  readonly #readOld: ReadOld
  readonly #requireAlive: () => void

  /** @param requireAlive called after the observers: the node may have crashed meanwhile */
  constructor(readOld: ReadOld, requireAlive: () => void) {
    this.#readOld = readOld
    this.#requireAlive = requireAlive
  }

  get isEmpty(): boolean {
    return this.#all.length === 0
  }

  /** @returns ends the observation */
  add(observer: ChangeObserver): () => void {
    // One object may be given twice, and each observation ends by itself.
    const observation = { observer }
    this.#all = [...this.#all, observation]
    return () => {
      this.#all = this.#all.filter((other) => other !== observation)
    }
  }

  /** One of them has to be told before a change begins; else {@link tellAfter} is enough. */
  get holdsBack(): boolean {
    return this.#all.some(({ observer }) => observer.before)
  }

  /**
   * Runs a change; if there are observers, once no other one runs on its range. Between `before` and the change no
   * other may slip in: an observer that saves old content would then save the other's new content over it.
   */
  around<T>(change: Change, run: () => Promise<T>): Promise<T> {
    if (this.isEmpty) return run()
    const { holdsBack } = this
    const changing = async (): Promise<T> => {
      try {
        if (holdsBack) await this.#tellBefore(change)
        this.#requireAlive()
        return await run()
      } finally {
        this.tellAfter(change)
      }
    }
    return holdsBack ? this.#ranges.run(change.offset, change.bytes, true, changing) : changing()
  }

  async #tellBefore(change: Change): Promise<void> {
    for (const observation of this.#all) {
      // It may have ended while others were told.
      if (this.#all.includes(observation)) await observation.observer.before?.(change, this.#readOld)
    }
  }

  /** Tells of a change that has ended. An observer that throws keeps the others from nothing. @throws what the first of them threw */
  tellAfter(change: Change): void {
    let failed: { readonly error: unknown } | undefined
    for (const { observer } of this.#all) {
      try {
        observer.after?.(change)
      } catch (error) {
        failed ??= { error }
      }
    }
    if (failed) throw failed.error
  }
}
