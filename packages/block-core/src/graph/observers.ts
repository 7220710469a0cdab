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
  /** One of them has to be told before a change begins. */
  #holdsBack = false
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
    this.#replace([...this.#all, observation])
    return () => this.#replace(this.#all.filter((other) => other !== observation))
  }

  #replace(all: readonly Observation[]): void {
    this.#all = all
    this.#holdsBack = all.some(({ observer }) => observer.before)
  }

  /** None has to be told before a change begins: then {@link told} is enough. */
  get areTrackers(): boolean {
    return !this.#holdsBack
  }

  /** Tells the observers of a change when it has ended. */
  async told<T>(change: Change, running: Promise<T>): Promise<T> {
    try {
      return await running
    } finally {
      this.#tellAfter(change)
    }
  }

  /**
   * Runs a change; if there are observers, once no other one runs on its range. Between `before` and the change no
   * other may slip in: an observer that saves old content would then save the other's new content over it.
   */
  around<T>(change: Change, run: () => Promise<T>): Promise<T> {
    if (this.isEmpty) return run()
    if (!this.#holdsBack) return this.told(change, run())
    return this.#ranges.run(change.offset, change.bytes, true, async () => {
      try {
        await this.#tellBefore(change)
        this.#requireAlive()
        return await run()
      } finally {
        this.#tellAfter(change)
      }
    })
  }

  async #tellBefore(change: Change): Promise<void> {
    for (const observation of this.#all) {
      // It may have ended while others were told.
      if (this.#all.includes(observation)) await observation.observer.before?.(change, this.#readOld)
    }
  }

  /** An observer that throws keeps the others from nothing. @throws what the first of them threw */
  #tellAfter(change: Change): void {
    const failures: unknown[] = []
    for (const { observer } of this.#all) {
      try {
        observer.after?.(change)
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
