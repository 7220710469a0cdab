/** A set of drivers. There is no global one: an application chooses the drivers it supports. */
import { expects, wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { OptionTable } from '../text/options.ts'
import type { AnyDriver, BlockDriver } from './driver.ts'

/** @throws BlockError EINVAL if the value is not a driver: most often a missing import */
export const requireDriver = (driver: unknown): void =>
  expects('a driver', (value) => typeof (value as AnyDriver | undefined)?.name === 'string')(driver, 'driver')

/** Drivers by name, prefix and probe. */
export class DriverRegistry {
  readonly #drivers = new Map<string, AnyDriver>()
  readonly #prefixes = new Map<string, AnyDriver>()

  constructor(drivers: Iterable<BlockDriver<never, never> | BlockDriver<OptionTable, OptionTable>>) {
    if (typeof (drivers as Partial<Iterable<unknown>> | undefined)?.[Symbol.iterator] !== 'function')
      throw wrongValue('drivers', 'a list of drivers', drivers)
    for (const driver of drivers as Iterable<AnyDriver>) {
      requireDriver(driver)
      this.#drivers.set(driver.name, driver)
      for (const prefix of driver.prefixes ?? []) this.#prefixes.set(prefix, driver)
    }
  }

  /** The drivers, in the order they were given. */
  [Symbol.iterator](): IterableIterator<AnyDriver> {
    return this.#drivers.values()
  }

  /** The driver of that name, or undefined. */
  find(name: string): AnyDriver | undefined {
    return this.#drivers.get(name)
  }

  /** @throws BlockError ENOENT `Unknown driver 'X'` */
  get(name: string): AnyDriver {
    const driver = this.#drivers.get(name)
    if (!driver) throw new BlockError('ENOENT', `Unknown driver '${name}'`)
    return driver
  }

  /** The driver for a file name's prefix (`nbd` of `nbd://...`), or undefined. */
  byPrefix(prefix: string): AnyDriver | undefined {
    return this.#prefixes.get(prefix)
  }

  /** The protocol that recognizes a name, whatever its prefix, as one of its devices, or undefined. */
  deviceOf(filename: string): AnyDriver | undefined {
    for (const driver of this.#drivers.values()) if (driver.recognises?.(filename)) return driver
    return undefined
  }

  /**
   * The best-scoring format for an image whose format was not named.
   *
   * @param head the first 512 bytes, padded with zeroes if the file is shorter
   * @throws BlockError ENOENT if no driver recognizes it
   */
  probe(head: Uint8Array, filename: string): AnyDriver {
    const best = this.guess(head, filename)
    if (!best) throw new BlockError('ENOENT', 'Could not determine image format: No compatible driver found')
    return best
  }

  /** Like {@link probe}, but returns undefined if no driver recognizes it. */
  guess(head: Uint8Array, filename: string): AnyDriver | undefined {
    let best: AnyDriver | undefined
    let bestScore = 0
    for (const driver of this.#drivers.values()) {
      const score = driver.probe?.(head, filename) ?? 0
      if (score > bestScore) [best, bestScore] = [driver, score]
    }
    return best
  }
}
