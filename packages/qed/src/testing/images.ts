/** Images on memory nodes, and a clock that tests control. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openNode,
  type RawOptions,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { parseOptions } from '@vmblock/block-core/driver'
import { qedCreation } from '../create.ts'
import { createQedDriver } from '../driver.ts'
import type { QedClock } from '../idle-timer.ts'

/** A clock that stands still until a test advances it. */
export class TestClock implements QedClock {
  readonly #waiting = new Map<() => void, number>()

  after(milliseconds: number, run: () => void): () => void {
    this.#waiting.set(run, milliseconds)
    return () => this.#waiting.delete(run)
  }

  /** Milliseconds until the next timer; undefined: there is none. */
  get next(): number | undefined {
    return this.#waiting.size === 0 ? undefined : Math.min(...this.#waiting.values())
  }

  /** Fires all timers. */
  elapse(): void {
    const due = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const run of due) run()
  }
}

/** An empty disk in memory. */
export const emptyDisk = (): Promise<BlockNode> =>
  openNode({ registry: new DriverRegistry([memory]), host: denyHost }, { driver: 'memory' })

/** A new image on a memory node. `options` as for `qemu-img create -o`. */
export async function createImage(options: RawOptions): Promise<BlockNode> {
  const file = await emptyDisk()
  await qedCreation.create({ file, options: parseOptions(qedCreation.options, options) })
  return file
}

/** An image opened over a log of what it writes. */
export interface OpenImage {
  readonly node: BlockNode
  readonly log: WriteLog
  readonly clock: TestClock
}

/** Opens an image on `file`, logging. `options` as for `openNode`. */
export async function open(file: BlockNode, options: RawOptions = {}): Promise<OpenImage> {
  const log = new WriteLog()
  const clock = new TestClock()
  const registry = new DriverRegistry([memory, writeLog, createQedDriver({ clock })])
  const node = await openNode(
    { registry, host: denyHost },
    { driver: 'qed', discard: 'unmap', ...options, file: { driver: 'write-log', log, file } },
  )
  return { node, log, clock }
}

/** `bytes` bytes of one value. */
export const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)
