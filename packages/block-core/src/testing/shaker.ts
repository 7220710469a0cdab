/**
 * A disk whose answers come in any order. Requests are held before they run and before they complete, some
 * for a long time, and the test releases them one by one; requests that are not held overtake others within a
 * turn of the event loop. Some are split in two, as a host system may do between any two sectors. A seed
 * determines the order.
 */
import { alignDown, SECTOR } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { forwardOps } from '../drivers/pass-through.ts'
import { openTestNode } from './nodes.ts'
import type { Random } from './random.ts'

/** The message of errors that {@link Shaker.fail} makes. */
export const INJECTED = 'injected'

interface Held {
  /** Released only when no others are left (with few exceptions). */
  readonly slow: boolean
  release(): void
}

/** Holds requests, and releases them in a random order. */
export class Shaker {
  readonly #random: Random
  #held: Held[] = []
  #calm = false
  /** The probability that a request fails. */
  #failing = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** Number of requests that wait for {@link release}. */
  get held(): number {
    return this.#held.length
  }

  /** From now on requests fail with EIO, with that probability; half of the failed ones still take effect. */
  fail(probability: number): void {
    this.#failing = probability
  }

  /** From now on no request is held, and none fails. */
  calm(): void {
    this.#calm = true
    this.#failing = 0
    for (const { release } of this.#held.splice(0)) release()
  }

  /** Resolves at once, some microtasks later, or when it is released. */
  async pause(): Promise<void> {
    if (this.#calm) return
    const random = this.#random
    const kind = random.int(0, 10)
    if (kind < 3) return
    if (kind < 6) {
      for (let turns = random.int(1, 8); turns > 0; turns--) await undefined
      return
    }
    const slow = random.chance(0.12)
    await new Promise<void>((release) => this.#held.push({ slow, release }))
  }

  /** Releases one request. @returns whether there was any */
  release(): boolean {
    const random = this.#random
    const quick = random.chance(0.97) ? this.#held.filter(({ slow }) => !slow) : []
    const next = random.pick(quick.length > 0 ? quick : this.#held)
    if (!next) return false
    this.#held = this.#held.filter((other) => other !== next)
    next.release()
    return true
  }

  /** Makes a node with the content of `file` whose requests are held. */
  shake(file: BlockNode): Promise<BlockNode> {
    const held = async (run: () => Promise<void>): Promise<void> => {
      await this.pause()
      const fails = this.#failing > 0 && this.#random.chance(this.#failing)
      if (!fails || this.#random.chance(0.5)) await run()
      await this.pause()
      if (fails) throw new BlockError('EIO', INJECTED)
    }
    /** Runs a transfer of `bytes` bytes as a whole, or as two independent parts. */
    const parted = async (
      offset: number,
      bytes: number,
      run: (from: number, to: number) => Promise<void>,
    ): Promise<void> => {
      const cut = alignDown(offset + this.#random.int(0, bytes), SECTOR) - offset
      if (cut <= 0 || !this.#random.chance(0.3)) return held(() => run(0, bytes))
      const parts = [held(() => run(0, cut)), held(() => run(cut, bytes))]
      // A request ends when both parts have ended, even if one has failed.
      await Promise.allSettled(parts)
      await Promise.all(parts)
    }
    const driver = defineDriver({
      name: 'shaken',
      kind: 'filter',
      async open(context): Promise<NodeOps> {
        const plain = forwardOps(await context.requireChild('file'))
        return {
          ...plain,
          read: (offset, into) =>
            parted(offset, into.length, (from, to) => plain.read(offset + from, into.subarray(from, to))),
          flush: () => held(() => plain.flush!()),
          ...(plain.write && {
            write: (offset, data, flags) =>
              parted(offset, data.length, (from, to) =>
                plain.write!(offset + from, data.subarray(from, to), flags),
              ),
          }),
          ...(plain.writeZeroes && {
            writeZeroes: (offset, bytes, flags) => held(() => plain.writeZeroes!(offset, bytes, flags)),
          }),
          ...(plain.discard && { discard: (offset, bytes) => held(() => plain.discard!(offset, bytes)) }),
          ...(plain.truncate && {
            truncate: (size, options) => held(() => plain.truncate!(size, options)),
          }),
        }
      },
    })
    return openTestNode(driver, { children: { file } })
  }
}
