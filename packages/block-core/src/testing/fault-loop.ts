/**
 * Injects an error at one step of a driver, and checks the result: requests that succeeded had their effect,
 * durable data is intact, the disk is consistent, and everything works once the fault is gone. A driver
 * supplies a disk and the requests that reach its steps.
 */

import { isBlockError } from '../base/errors.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import type { BlockNode } from '../contract/node.ts'
import { blkdebug } from '../drivers/blkdebug.ts'
import { opsOf } from '../graph/node-internals.ts'
import type { RawOptions } from '../text/options.ts'
import { openTestNode, toBytes } from './nodes.ts'
import { createRandom } from './random.ts'

/** The errors to inject: Linux errno numbers, as for blkdebug. */
export const FAULT_ERRNOS = { EIO: 5, ENOSPC: 28 } as const

/** What fails, and for how long. */
export interface Fault {
  readonly event: DebugEvent
  readonly errno: keyof typeof FAULT_ERRNOS
  /**
   * - `once`: one request fails
   * - `while`: all fail until the requests of the scenario have ended; then everything works again
   * - `until crash`: all fail, and the node crashes
   */
  readonly lasts: 'once' | 'while' | 'until crash'
}

/** All faults for one step. */
export const faultsAt = (event: DebugEvent): Fault[] =>
  (Object.keys(FAULT_ERRNOS) as Fault['errno'][]).flatMap((errno) =>
    (['once', 'while', 'until crash'] as const).map((lasts) => ({ event, errno, lasts })),
  )

/** A closed disk with content. */
export interface FaultyDisk {
  readonly file: BlockNode
  /** The content of the disk. */
  readonly content: Uint8Array
  /** This many bytes at the start of `content` are durable, and no request of the scenario touches them. */
  readonly safe: number
}

/** The operations on a disk while a fault is active. */
export interface FaultScenario {
  make(): Promise<FaultyDisk>
  /** Opens the disk for writing. */
  open(file: BlockNode): Promise<BlockNode>
  /** Makes requests that reach the steps. Their failures need no handling. */
  run(guest: FaultGuest): Promise<void>
  /**
   * Examines the closed disk; after a crash it may have to be repaired first.
   *
   * @throws Error if it is damaged
   */
  verify(file: BlockNode, afterCrash: boolean): Promise<void>
  /** After a failure, the node may refuse everything until it is opened again. */
  readonly mayStop?: boolean
  /** More options for blkdebug, such as stricter limits. */
  readonly debugOptions?: RawOptions
}

/** Makes requests, and knows what the disk must show if they succeed. */
export class FaultGuest {
  readonly node: BlockNode
  /** The required value of each byte; -1: undefined after a failed request. */
  expected: Int16Array
  failures = 0

  constructor(node: BlockNode, before: Uint8Array) {
    this.node = node
    this.expected = Int16Array.from(before)
  }

  /** Runs something that may fail. @returns whether it succeeded */
  async try(run: () => Promise<unknown>): Promise<boolean> {
    try {
      await run()
      return true
    } catch {
      this.failures++
      return false
    }
  }

  async write(offset: number, bytes: number, seed: number): Promise<boolean> {
    const data = createRandom(seed).bytes(bytes)
    const done = await this.try(() => this.node.write(offset, data))
    if (done) this.expected.set(data, offset)
    else this.expected.fill(-1, offset, offset + bytes)
    return done
  }
  /** Writes data that becomes half as long when it is compressed. */
  async writeCompressed(offset: number, bytes: number, seed: number): Promise<void> {
    const data = new Uint8Array(bytes).fill(seed)
    data.set(createRandom(seed).bytes(Math.floor(bytes / 2)))
    const done = await this.try(() => this.node.writeCompressed(offset, data))
    if (done) this.expected.set(data, offset)
    else this.expected.fill(-1, offset, offset + bytes)
  }
  async zero(offset: number, bytes: number, mayUnmap: boolean): Promise<void> {
    const done = await this.try(() => this.node.writeZeroes(offset, bytes, { mayUnmap }))
    this.expected.fill(done ? 0 : -1, offset, offset + bytes)
  }
  /** Discards whole clusters, which must read as zeroes afterwards. */
  async discard(offset: number, bytes: number): Promise<void> {
    const done = await this.try(() => this.node.discard(offset, bytes))
    this.expected.fill(done ? 0 : -1, offset, offset + bytes)
  }
  async resize(size: number): Promise<void> {
    const done = await this.try(() => this.node.truncate(size))
    const before = this.expected
    if (done || this.node.size === size) {
      this.expected = new Int16Array(size)
      this.expected.set(before.subarray(0, size))
    } else before.fill(-1, Math.min(size, before.length))
  }
  flush(): Promise<boolean> {
    return this.try(() => this.node.flush())
  }
  read(offset: number, bytes: number): Promise<boolean> {
    return this.try(() => this.node.read(offset, new Uint8Array(bytes)))
  }

  /** @throws Error naming the first wrong byte */
  async requireContent(node: BlockNode, upTo = this.expected.length): Promise<void> {
    if (upTo > node.size) throw new Error(`the disk has ${node.size} bytes, not ${upTo}`)
    const content = await toBytes(node)
    for (let at = 0; at < upTo; at++)
      if (this.expected[at] !== -1 && this.expected[at] !== content[at])
        throw new Error(`byte at ${at} is ${content[at]}, not ${this.expected[at]}`)
  }
}

/** The event that ends a `while` fault: no driver under test announces it. */
const OVER: DebugEvent = 'cor_write'

/**
 * Runs a scenario with a fault.
 *
 * @returns whether the step was reached
 * @throws Error if the result is wrong
 */
export async function runWithFault(scenario: FaultScenario, fault: Fault): Promise<boolean> {
  const { file, content, safe } = await scenario.make()
  const debug = await openTestNode(blkdebug, {
    options: { ...scenario.debugOptions, ...rulesOf(fault) },
    children: { image: file },
  })
  const injected = countErrors(debug)
  const node = await scenario.open(debug).catch(() => undefined)
  // An opening that failed has not changed any content.
  const guest = new FaultGuest(node ?? debug, content)
  if (node) {
    await scenario.run(guest)
    if (fault.lasts === 'until crash') {
      await node.crash()
      guest.expected.fill(-1, safe)
    } else if (scenario.mayStop && injected() > 0) await node.close().catch(() => undefined)
    else await goOn(guest, fault, safe, injected() > 0)
  }
  const crashed = fault.lasts === 'until crash' || (scenario.mayStop === true && injected() > 0)
  await scenario.verify(file, crashed)
  const again = await scenario.open(file)
  await guest.requireContent(again, crashed ? safe : undefined)
  await again.write(0, new Uint8Array(again.size).fill(1))
  await again.close()
  await scenario.verify(file, false)
  return injected() > 0
}

/** Counts the requests to a node that fail from now on, including failures that the driver ignores. */
function countErrors(node: BlockNode): () => number {
  const ops = opsOf(node)
  let errors = 0
  const requests = ops as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
  for (const name of ['read', 'write', 'writeZeroes', 'discard', 'flush']) {
    const request = requests[name]!.bind(ops)
    const value = (...args: unknown[]): Promise<unknown> =>
      request(...args).catch((error: unknown) => {
        // blkdebug itself refuses zero writes that are shorter than a block.
        if (!isBlockError(error, 'ENOTSUP')) errors++
        throw error
      })
    // Defined, not assigned: a filter's methods are getters.
    Object.defineProperty(ops, name, { value })
  }
  return () => errors
}

function rulesOf({ event, errno, lasts }: Fault): RawOptions {
  const rule = { event, errno: FAULT_ERRNOS[errno], once: lasts === 'once', immediately: true }
  return {
    'inject-error': [
      { ...rule, state: 1 },
      { event: OVER, errno: 0, once: false, immediately: true },
    ],
    'set-state': [{ event: OVER, state: 1, new_state: 2 }],
  }
}

/** Checks, once the fault is gone, that all requests succeed and that earlier writes are intact. */
async function goOn(guest: FaultGuest, { lasts }: Fault, safe: number, wasMet: boolean): Promise<void> {
  const { node } = guest
  if (lasts === 'while') await opsOf(node.file!.node).debugEvent?.(OVER)
  guest.failures = 0
  await guest.write(safe, Math.min(5000, guest.expected.length - safe), 99)
  await guest.flush()
  // A `once` fault that was not reached yet may strike as late as here.
  await guest.requireContent(node).catch((error: unknown) => {
    if (wasMet || lasts !== 'once') throw error
    return guest.requireContent(node)
  })
  await guest.try(() => node.close())
  if (guest.failures > (wasMet || lasts === 'while' ? 0 : 1))
    throw new Error(`${guest.failures} requests fail after the fault is gone`)
}
