/** A set of drivers. There is no global one: an application chooses the drivers it supports. */
import { expects, wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { AnyDriver } from './driver.ts'

/** Whether a value is a driver, not the options of a node. */
export const isDriver = (value: unknown): value is AnyDriver =>
  typeof (value as AnyDriver | undefined)?.open === 'function'

/** @throws BlockError EINVAL if the value is not a driver: most often a missing import */
export const requireDriver = expects('a driver', isDriver)

/** Drivers by name, prefix and probe. `D` are their types, by which `openNode` knows the options that it is given. */
export class DriverRegistry<out D extends AnyDriver = AnyDriver> {
  readonly #drivers = new Map<string, D>()
  readonly #prefixes = new Map<string, D>()

  constructor(drivers: Iterable<D>) {
    if (typeof (drivers as Partial<Iterable<unknown>> | undefined)?.[Symbol.iterator] !== 'function')
      throw wrongValue('drivers', 'a list of drivers', drivers)
    for (const driver of drivers) {
      requireDriver(driver, 'driver')
      this.#drivers.set(driver.name, driver)
      for (const prefix of driver.prefixes ?? []) this.#prefixes.set(prefix, driver)
    }
  }

  /** The drivers, in the order they were given. */
  [Symbol.iterator](): IterableIterator<D> {
    return this.#drivers.values()
  }

  /** The driver of that name, or undefined. */
  find(name: string): D | undefined {
    return this.#drivers.get(name)
  }

  /** @throws BlockError ENOENT `Unknown driver 'X'` */
  get(name: string): D {
    const driver = this.#drivers.get(name)
    if (!driver) throw new BlockError('ENOENT', `Unknown driver '${name}'`)
    return driver
  }

  /** The driver for a file name's prefix (`nbd` of `nbd://...`), or undefined. */
  byPrefix(prefix: string): D | undefined {
    return this.#prefixes.get(prefix)
  }

  /** The protocol that recognizes a name, whatever its prefix, as one of its devices, or undefined. */
  deviceOf(filename: string): D | undefined {
    for (const driver of this.#drivers.values()) if (driver.recognises?.(filename)) return driver
    return undefined
  }

  /**
   * The best-scoring format for an image whose format was not named.
   *
   * @param head the first 512 bytes, padded with zeroes if the file is shorter
   * @throws BlockError ENOENT if no driver recognizes it
   */
  probe(head: Uint8Array, filename: string): D {
    const best = this.guess(head, filename)
    if (!best) throw new BlockError('ENOENT', 'Could not determine image format: No compatible driver found')
    return best
  }

  /** Like {@link probe}, but returns undefined if no driver recognizes it. */
  guess(head: Uint8Array, filename: string): D | undefined {
    let best: D | undefined
    let bestScore = 0
    for (const driver of this.#drivers.values()) {
      const score = driver.probe?.(head, filename) ?? 0
      if (score > bestScore) [best, bestScore] = [driver, score]
    }
    return best
  }
}
