/** Counts memory that is allocated for byte arrays, and how much of it is alive at a time. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes that opening and using a hostile image may take, beyond the caches that options ask for (33 MiB). */
export const BYTES_ALLOWED = 97 * 2 ** 20
/** Bytes of allocations after which the garbage collector runs, and live memory is measured. */
const LOOK_EVERY = 48 * 2 ** 20

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
setFlagsFromString('--no-expose-gc')

/** The memory of a step. */
export interface Measured<T> {
  readonly result: T
  /** Bytes alive at the highest measurement, beyond those before. */
  readonly peak: number
  /** Bytes of the largest single array. */
  readonly largest: number
}

/** A meter; only one may be in use. */
export interface AllocationMeter {
  measure<T>(body: () => Promise<T>): Promise<Measured<T>>
  /** Restores the original `Uint8Array`. */
  remove(): void
}

/** Bytes of the heap and of arrays, as in `process.memoryUsage`, without querying the system for more. */
const alive = (): number => {
  const { used_heap_size, external_memory } = getHeapStatistics()
  return used_heap_size + external_memory
}

/** Puts a meter around `Uint8Array`. */
export function installMeter(): AllocationMeter {
  const Real = globalThis.Uint8Array
  let [since, largest, peak, base] = [0, 0, 0, 0]
  const Metered: Uint8ArrayConstructor = new Proxy(Real, {
    construct(target, words, newTarget) {
      const [bytes] = words as unknown[]
      if (typeof bytes === 'number') {
        largest = Math.max(largest, bytes)
        since += bytes
        if (since > LOOK_EVERY) {
          since = 0
          collect()
          peak = Math.max(peak, alive() + bytes - base)
        }
      }
      return Reflect.construct(target, words, newTarget === Metered ? target : newTarget) as object
    },
  })
  globalThis.Uint8Array = Metered
  return {
    async measure(body) {
      ;[since, largest, peak] = [0, 0, 0]
      base = alive()
      const result = await body()
      const rest = alive() - base
      if (rest > BYTES_ALLOWED) {
        collect()
        peak = Math.max(peak, alive() - base)
      }
      return { result, peak, largest }
    },
    remove() {
      globalThis.Uint8Array = Real
    },
  }
}
