/**
 * The `preallocate` filter: under a format that writes beyond the end of its file, the file grows ahead of it, in few
 * large steps. What was too much is cut off when the file is closed.
 */
import { alignUp, SECTOR } from '../base/bits.ts'
import { failureOf } from '../base/errno.ts'
import { BlockError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { RangeTracker } from '../base/range-tracker.ts'
import { filtered } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockChild } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { PERMISSION, type Permissions } from '../contract/permissions.ts'
import type { TruncateOptions, WriteFlags } from '../contract/requests.ts'
import { type OptionValues, size } from '../text/options.ts'
import { forwardOps } from './pass-through.ts'

const OPTIONS = {
  preallocAlign: size('on preallocation, align file length to this number, default 1M', 2 ** 20),
  preallocSize: size('how much to preallocate, default 128M', 2 ** 27),
}

type Settings = OptionValues<typeof OPTIONS>

const GROWS = PERMISSION.write | PERMISSION.resize

/** Whether the user above writes and resizes. Only then does the file belong to this node alone. */
const mayGrow = ({ taken }: Permissions): boolean => (taken & GROWS) === GROWS

/** @throws BlockError EINVAL in QEMU's words */
function checkSettings({ preallocAlign }: Settings, { limits }: BlockChild): void {
  if (preallocAlign % SECTOR !== 0)
    throw new BlockError(
      'EINVAL',
      `prealloc-align parameter of preallocate filter is not aligned to ${SECTOR}`,
    )
  if (preallocAlign % limits.requestAlignment !== 0)
    throw new BlockError(
      'EINVAL',
      `prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment (${limits.requestAlignment})`,
    )
}

/** The lengths of the file that are known while it belongs to this node alone. Bytes from its start. */
interface Ends {
  /** Where the data of the user ends: what the node shows as its size. */
  data: number
  /** From here on, up to the end of the file, everything reads as zeroes. */
  zeroes: number
  /** Where the file ends; undefined after a failure: then the file is asked. */
  file: number | undefined
}

/** One open node. */
class Preallocation {
  readonly #child: BlockChild
  settings: Settings
  /** Undefined while others may change the file, too. */
  #ends: Ends | undefined
  /** Changes of the ends, one at a time. */
  readonly #lock = new Mutex()
  /** Writes in flight: preallocated zeroes must not overtake them. */
  readonly #writing = new RangeTracker()
  /** The file is being cut off at `data`, because the right to do so has just been lost. */
  #cropping: { readonly data: number; readonly done: Promise<void> } | undefined

  constructor(child: BlockChild, settings: Settings) {
    this.#child = child
    this.settings = settings
  }

  size(): number {
    return this.#ends?.data ?? this.#child.size
  }

  async write(offset: number, bytes: number, run: () => Promise<void>): Promise<void> {
    await this.#make(offset, bytes, false)
    await this.#writing.run(offset, bytes, false, run)
  }

  /** Writes zeroes, unless that made them part of the preallocated area. */
  async writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    const run = () => this.#child.writeZeroes(offset, bytes, flags)
    if (await this.#make(offset, bytes, !flags.mayUnmap && !flags.fua)) return
    await this.#writing.run(offset, bytes, false, run)
  }

  /**
   * Prepares a write, which may be beyond the end of the data.
   *
   * @param areZeroes the write is of zeroes only, and may be done by preallocating them
   * @returns whether that is so
   */
  async #make(offset: number, bytes: number, areZeroes: boolean): Promise<boolean> {
    await this.#cropping?.done
    const end = offset + bytes
    // Within the data there is nothing to do, and nothing to wait for.
    if (!this.#ends || end <= this.#ends.data) return false
    return this.#lock.run(() => this.#extend(offset, end, areZeroes))
  }

  async #extend(offset: number, end: number, areZeroes: boolean): Promise<boolean> {
    const ends = this.#ends
    if (!ends || end <= ends.data) return false
    ends.data = end
    if (!areZeroes) ends.zeroes = end
    const { limits } = this.#child
    const fileEnd = this.#fileEnd(ends)
    if (end <= fileEnd) return areZeroes && offset >= ends.zeroes
    const { preallocAlign, preallocSize } = this.settings
    const start = alignUp(areZeroes ? Math.min(offset, fileEnd) : fileEnd, limits.requestAlignment)
    const stop = alignUp(
      Math.max(start, end) + preallocSize,
      Math.max(preallocAlign, limits.requestAlignment),
    )
    ends.file = undefined
    const held = this.#writing.tryHold(start, stop - start, true)
    if (!held) return false
    try {
      await this.#child.writeZeroes(start, stop - start, { noFallback: true })
      ends.file = stop
    } catch {
      // The file system cannot, or is full: the write itself will tell.
      return false
    } finally {
      this.#writing.release(held)
    }
    return areZeroes && start <= offset
  }

  truncate(bytes: number, options: TruncateOptions): Promise<void> {
    return this.#lock.run(async () => {
      await this.#cropping?.done
      const ends = this.#ends
      if (ends && bytes > ends.data) {
        const fileEnd = this.#fileEnd(ends)
        if (options.preallocation === 'falloc' && bytes <= fileEnd) {
          // Part of what was allocated ahead becomes what is asked for.
          ends.data = bytes
          return
        }
        // A file that is to grow must have its real length first: to stay sparse, or to be filled.
        if (options.preallocation !== 'falloc')
          await this.#crop(ends, 'preallocate-filter: failed to drop write-zero preallocation')
      }
      try {
        await this.#child.truncate(bytes, options)
        if (ends) Object.assign(ends, { data: bytes, zeroes: bytes, file: bytes })
      } catch (error) {
        const { size: now } = this.#child
        if (ends) Object.assign(ends, { data: Math.min(ends.data, now), zeroes: now, file: undefined })
        throw error
      }
    })
  }

  /** Bytes of the file: asked for after a failure, which may have changed them. */
  #fileEnd(ends: Ends): number {
    ends.file ??= this.#child.size
    return ends.file
  }

  /** Cuts off what is beyond the data. @throws BlockError that begins with `what` */
  async #crop(ends: Ends, what: string): Promise<void> {
    const fileEnd = this.#fileEnd(ends)
    if (fileEnd <= ends.data) return
    try {
      await this.#child.truncate(ends.data, { exact: true })
      ends.file = ends.zeroes = ends.data
    } catch (error) {
      ends.file = undefined
      throw failureOf(what, error)
    }
  }

  /** Cuts off what is beyond the data, with no write in flight. @throws BlockError */
  crop(): Promise<void> {
    return this.#lock.run(async () => {
      if (this.#ends) await this.#crop(this.#ends, 'Failed to drop preallocation')
    })
  }

  /** The user above may write and resize from now on, or may not any more. */
  own(isOwner: boolean): void {
    const ends = this.#ends
    if (isOwner === (ends !== undefined)) return
    const { size: file } = this.#child
    const data = this.#cropping?.data ?? file
    this.#ends = isOwner ? { data, zeroes: data, file: data === file ? file : undefined } : undefined
    if (!ends || (ends.file ?? file) <= ends.data) return
    // The other users see the file as it is: that it is too long for a moment does no harm.
    const done = this.#crop(ends, 'Failed to drop preallocation')
      .catch(() => undefined)
      .then(() => {
        this.#cropping = undefined
      })
    this.#cropping = { data: ends.data, done }
  }

  async close(): Promise<void> {
    await this.#cropping?.done
    // As in QEMU, a file that cannot be cut off stays too long, which no format minds.
    await this.crop().catch(() => undefined)
  }
}

/** QEMU's `preallocate`. Without the right to resize, which formats take and users of a raw disk do not, it does nothing. */
export const preallocate = defineDriver({
  name: 'preallocate',
  kind: 'filter',
  options: OPTIONS,
  mutableOptions: ['preallocAlign', 'preallocSize'],
  children: {
    file: {
      ...filtered,
      permissions: (above) => (mayGrow(above) ? { ...above, shared: above.shared & ~GROWS } : above),
    },
  },

  async open({ requireChild, options }): Promise<NodeOps> {
    const child = await requireChild('file')
    checkSettings(options, child)
    const state = new Preallocation(child, options)
    return forwardOps(child, {
      size: () => state.size(),
      write: (offset, from, flags) =>
        state.write(offset, from.length, () => child.write(offset, from, flags)),
      writeZeroes: (offset, bytes, flags) => state.writeZeroes(offset, bytes, flags),
      truncate: (bytes, how) => state.truncate(bytes, how),
      writeCompressed: undefined,
      preparePermissions: (wanted) => ({ commit: () => state.own(mayGrow(wanted)), abort() {} }),
      async prepareReopen({ readOnly, options: changed }) {
        const next = changed as Settings
        checkSettings(next, child)
        // While the file may still be written.
        if (readOnly) await state.crop()
        return {
          commit() {
            state.settings = next
          },
          abort() {},
        }
      },
      close: () => state.close(),
    })
  },
})
