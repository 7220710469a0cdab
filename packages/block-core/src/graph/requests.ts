/**
 * The driver's side of a node: valid requests are padded to the driver's alignment, split to its longest
 * transfer, ordered where they overlap, told to observers, and made durable if requested.
 */
import { alignDown, alignUp, isZero } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { pause } from '../base/event-loop.ts'
import { FlushQueue } from '../base/flush-queue.ts'
import { RangeTracker } from '../base/range-tracker.ts'
import type { Change, ChangeKind, ChangeObserver } from '../contract/changes.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { BlockLimits, TruncateOptions, WriteFlag, WriteFlags } from '../contract/requests.ts'
import { discardInPieces, writeZeroesInPieces } from './fallbacks.ts'
import { Observers } from './observers.ts'
import { readPadded, writePadded } from './padding.ts'

/** No flags, as for a plain write. */
export const NO_FLAGS: WriteFlags = Object.freeze({})
const FUA: WriteFlags = Object.freeze({ fua: true })

/** What {@link Requests} needs to know of its node. */
export interface RequestOwner {
  readonly config: CoreConfig
  /**
   * Called between the steps of one request: after a crash the driver is not called again.
   *
   * @throws BlockError ECANCELED
   */
  requireAlive(): void
}

/** Turns valid requests into calls of the driver. Offsets and lengths in bytes; lengths are never 0. */
export class Requests {
  readonly #ops: NodeOps
  readonly #owner: RequestOwner
  readonly #isProtocol: boolean
  readonly #flushes: FlushQueue
  readonly #ranges = new RangeTracker()
  readonly #observers: Observers
  #limits: BlockLimits
  #canWrite = false
  /** Whether writes go to the driver unchanged: no padding, zero detection, announcement or flush, and at once. */
  #areWritesPlain = false

  /** @param isProtocol the node is a protocol's: then `cache.no-flush` stops flushes here */
  constructor(ops: NodeOps, owner: RequestOwner, isProtocol: boolean) {
    this.#ops = ops
    this.#owner = owner
    this.#isProtocol = isProtocol
    this.#limits = completeLimits(ops.limits)
    this.#flushes = new FlushQueue(() => this.#flushDriver())
    this.#observers = new Observers(
      (offset, into) => this.#readOld(offset, into),
      () => owner.requireAlive(),
    )
    this.refresh()
  }

  get limits(): BlockLimits {
    return this.#limits
  }
  /** Whether the driver has writes at all. */
  get canWrite(): boolean {
    return this.#canWrite
  }

  /** The driver's limits and abilities, the node's configuration, or its observers may have changed. */
  refresh(): void {
    const { detectZeroes } = this.#owner.config
    this.#limits = completeLimits(this.#ops.limits)
    this.#canWrite = this.#ops.write !== undefined
    this.#areWritesPlain =
      this.#limits.requestAlignment === 1 &&
      detectZeroes === 'off' &&
      !this.#ops.debugEvent &&
      this.#observers.areTrackers
  }

  /** From now on `observer` is told of changes that begin. @returns ends that */
  observe(observer: ChangeObserver): () => void {
    const end = this.#observers.add(observer)
    this.refresh()
    return () => {
      end()
      this.refresh()
    }
  }

  flush(): Promise<void> {
    return this.#flushes.flush()
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    const { requestAlignment, maxTransfer } = this.#limits
    const bytes = into.length
    // Nearly every request: nothing to pad, split or wait for.
    if (requestAlignment === 1 && bytes <= maxTransfer) return this.#ops.read(offset, into)
    if (requestAlignment === 1) return this.#readAligned(offset, into)
    if (this.#isAligned(offset, bytes))
      return this.#ranges.run(offset, bytes, false, () => this.#readAligned(offset, into))
    const start = alignDown(offset, requestAlignment)
    const length = this.#alignedEnd(offset + bytes) - start
    return this.#ranges.run(start, length, false, () =>
      readPadded((at, buffer) => this.#readAligned(at, buffer), start, length, offset, into),
    )
  }

  write(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    // Nearly every request, again; each async function saved is measurable.
    if (this.#areWritesPlain && flags.fua !== true && from.length <= this.#limits.maxTransfer)
      return this.#writePlain(offset, from)
    const { detectZeroes } = this.#owner.config
    if (detectZeroes !== 'off' && isZero(from))
      return this.writeZeroes(offset, from.length, { ...flags, mayUnmap: detectZeroes === 'unmap' }, 'write')
    return this.#changing('write', offset, from.length, flags, this.#ops.writeFlags, () => {
      if (!this.#isAligned(offset, from.length)) return this.#writeUnaligned(offset, from, flags)
      if (this.#limits.requestAlignment === 1) return this.#writeAligned(offset, from, flags)
      return this.#ranges.run(offset, from.length, false, () => this.#writeAligned(offset, from, flags))
    })
  }

  #writePlain(offset: number, from: Uint8Array): Promise<void> {
    const writing = this.#ops.write!(offset, from, NO_FLAGS)
    return this.#observers.isEmpty
      ? writing.then(this.#ended, this.#failed)
      : this.#observers
          .told({ kind: 'write', offset, bytes: from.length }, writing)
          .then(this.#ended, this.#failed)
  }

  /** @throws BlockError EINVAL unless the range is whole clusters, or ends with the disk */
  writeCompressed(offset: number, from: Uint8Array): Promise<void> {
    const { compressedAlignment: cluster, maxTransfer } = this.#limits
    const isWhole = from.length % cluster === 0 || offset + from.length === this.#ops.size()
    if (offset % cluster !== 0 || !isWhole)
      return Promise.reject(
        new BlockError('EINVAL', `compressed writes must be whole clusters of ${cluster} bytes`, { offset }),
      )
    const longest = Math.max(alignDown(maxTransfer, cluster), cluster)
    const write = (at: number, piece: Uint8Array) => this.#ops.writeCompressed!(at, piece)
    // Exclusive: whole clusters are replaced, so a change of part of one must not run meanwhile.
    return this.#changing('writeCompressed', offset, from.length, NO_FLAGS, undefined, () =>
      this.#ranges.run(offset, from.length, true, () => this.#inPieces(offset, from, longest, write)),
    )
  }

  writeZeroes(
    offset: number,
    bytes: number,
    flags: WriteFlags,
    kind: ChangeKind = 'writeZeroes',
  ): Promise<void> {
    // Some of the range may be written as data, so the driver must support FUA for both kinds of writes.
    const { zeroFlags, writeFlags } = this.#ops
    const supported = zeroFlags?.has('fua') ? writeFlags : undefined
    return this.#changing(kind, offset, bytes, flags, supported, () => this.#zeroPieces(offset, bytes, flags))
  }

  /** @throws BlockError ENOTSUP also if the range does not fit the driver's blocks */
  copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void> {
    if (!this.#isAligned(offset, bytes))
      return Promise.reject(new BlockError('ENOTSUP', 'only whole blocks can be copied inside the host'))
    return this.#changing('copyRange', offset, bytes, NO_FLAGS, undefined, () =>
      this.#ranges.run(offset, bytes, false, async () => {
        this.#owner.requireAlive()
        await this.#ops.copyRange!(offset, bytes, source, sourceOffset)
      }),
    )
  }

  async discard(offset: number, bytes: number): Promise<void> {
    const run = async (at: number, length: number): Promise<void> => {
      this.#owner.requireAlive()
      await this.#ops.discard!(at, length)
    }
    const discard = () =>
      this.#ranges.run(offset, bytes, false, () => discardInPieces(run, this.#limits, offset, bytes))
    try {
      await this.#observed('discard', offset, bytes, discard)()
    } finally {
      this.#flushes.wrote()
    }
  }

  /** Holds the range that is cut off, or added, exclusively. */
  truncate(size: number, options: TruncateOptions): Promise<void> {
    const before = this.#ops.size()
    const from = Math.min(size, before)
    const change: Change = { kind: 'truncate', offset: from, bytes: Math.abs(size - before) }
    const truncate = () =>
      this.#ranges.run(from, Number.MAX_SAFE_INTEGER - from, true, async () => {
        this.#owner.requireAlive()
        await this.#ops.truncate!(size, options)
      })
    return this.#forcing(NO_FLAGS, undefined, () => this.#observers.around(change, truncate))
  }

  /** Runs an operation on the structure of the image, which may change any of its content if it has a `kind`. */
  async restructure<T>(kind: ChangeKind | undefined, run: () => Promise<T>): Promise<T> {
    const ops = this.#ops
    let bytes = 0
    try {
      if (!kind) return await run()
      // An amendment may add to the disk: afterwards that belongs to the change, too.
      const change: Change = {
        kind,
        offset: 0,
        get bytes() {
          bytes = Math.max(bytes, ops.size())
          return bytes
        },
      }
      return await this.#observers.around(change, run)
    } finally {
      this.#flushes.wrote()
    }
  }

  /** The area of the VM state is no part of the disk: observers are not told. */
  writeVmState(offset: number, from: Uint8Array): Promise<void> {
    return this.#ops.writeVmState!(offset, from).then(this.#ended, this.#failed)
  }

  // ---- inside ----

  /** Runs a change that must be durable afterwards if `flags` say so. */
  #changing(
    kind: ChangeKind,
    offset: number,
    bytes: number,
    flags: WriteFlags,
    supported: ReadonlySet<WriteFlag> | undefined,
    run: () => Promise<void>,
  ): Promise<void> {
    return this.#forcing(flags, supported, this.#observed(kind, offset, bytes, run))
  }

  /** @returns a function that runs a change, and tells the observers, if there are any */
  #observed(kind: ChangeKind, offset: number, bytes: number, run: () => Promise<void>): () => Promise<void> {
    if (this.#observers.isEmpty) return run
    const start = alignDown(offset, this.#limits.requestAlignment)
    const change: Change = { kind, offset: start, bytes: this.#alignedEnd(offset + bytes) - start }
    return () => this.#observers.around(change, run)
  }

  readonly #ended = (): void => this.#flushes.wrote()
  readonly #failed = (error: unknown): never => {
    this.#flushes.wrote()
    throw error
  }

  /** For observers, which may read anywhere, and not through the node: see {@link ChangeObserver.before}. */
  async #readOld(offset: number, into: Uint8Array): Promise<void> {
    const { length } = into
    const inside = Math.max(0, Math.min(length, this.#ops.size() - offset))
    this.#owner.requireAlive()
    if (inside > 0) await this.read(offset, into.subarray(0, inside))
    into.fill(0, inside)
  }

  #isAligned(offset: number, bytes: number): boolean {
    const { requestAlignment } = this.#limits
    if (requestAlignment === 1) return true
    if (offset % requestAlignment !== 0) return false
    const end = offset + bytes
    return end % requestAlignment === 0 || (!this.#ops.growable && end === this.#ops.size())
  }

  /** End of the aligned range around a request; a disk that cannot grow may end unaligned. */
  #alignedEnd(end: number): number {
    const aligned = alignUp(end, this.#limits.requestAlignment)
    return this.#ops.growable ? aligned : Math.max(end, Math.min(aligned, this.#ops.size()))
  }

  #readAligned(offset: number, into: Uint8Array): Promise<void> {
    return this.#inPieces(offset, into, this.#limits.maxTransfer, (at, piece) => this.#ops.read(at, piece))
  }

  async #inPieces(
    offset: number,
    buffer: Uint8Array,
    longest: number,
    run: (at: number, piece: Uint8Array) => Promise<void>,
  ): Promise<void> {
    for (let done = 0; done < buffer.length; done += longest) {
      this.#owner.requireAlive()
      await run(offset + done, buffer.subarray(done, done + longest))
    }
  }

  async #writeAligned(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    const ops = this.#ops
    const { maxTransfer } = this.#limits
    try {
      if (ops.debugEvent) await ops.debugEvent('pwritev')
      if (from.length <= maxTransfer) await this.#writeNow(offset, from, flags)
      else {
        for (let done = 0; done < from.length; done += maxTransfer)
          await this.#writeNow(offset + done, from.subarray(done, done + maxTransfer), flags)
      }
    } finally {
      if (ops.debugEvent) await ops.debugEvent('pwritev_done')
    }
  }

  #writeNow(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    this.#owner.requireAlive()
    return this.#ops.write!(offset, from, this.#supported(flags, this.#ops.writeFlags))
  }

  #writeZeroesNow(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    this.#owner.requireAlive()
    return this.#ops.writeZeroes!(offset, bytes, this.#supported(flags, this.#ops.zeroFlags))
  }

  /** Read, change and write back must be one step for all requests that touch the same blocks. */
  #writeUnaligned(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    const { requestAlignment } = this.#limits
    const start = alignDown(offset, requestAlignment)
    const length = this.#alignedEnd(offset + from.length) - start
    const below = {
      alignment: requestAlignment,
      read: (at: number, into: Uint8Array) => this.#readAligned(at, into),
      write: (at: number, data: Uint8Array) => this.#writeAligned(at, data, flags),
      debugEvent: (event: Parameters<NonNullable<NodeOps['debugEvent']>>[0]) => this.#ops.debugEvent?.(event),
    }
    return this.#ranges.run(start, length, true, () => writePadded(below, start, length, offset, from))
  }

  async #zeroPieces(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    const ops = this.#ops
    const wanted = flags.mayUnmap && !this.#owner.config.unmap ? { ...flags, mayUnmap: false } : flags
    const alignment = this.#limits.requestAlignment
    const start = alignUp(offset, alignment)
    const stop = offset + bytes
    const end = Math.max(start, this.#isAligned(start, stop - start) ? stop : alignDown(stop, alignment))
    // Ends that do not fill a block are written as data (read-modify-write); the middle goes to the driver.
    if (start > offset || end < stop) {
      if (start >= end) return this.#writeUnaligned(offset, new Uint8Array(bytes), flags)
      if (start > offset) await this.#writeUnaligned(offset, new Uint8Array(start - offset), flags)
      if (end < stop) await this.#writeUnaligned(end, new Uint8Array(stop - end), flags)
    }
    const writer = {
      limits: this.#limits,
      writeZeroes:
        ops.writeZeroes &&
        (async (at: number, length: number, f: WriteFlags) => this.#writeZeroesNow(at, length, f)),
      write: async (at: number, data: Uint8Array) => this.#writeNow(at, data, flags),
    }
    await this.#ranges.run(start, end - start, false, async () => {
      try {
        if (ops.debugEvent) await ops.debugEvent('pwritev_zero')
        await writeZeroesInPieces(writer, start, end - start, wanted)
      } finally {
        if (ops.debugEvent) await ops.debugEvent('pwritev_done')
      }
    })
  }

  /** The flags that the driver handles itself. */
  #supported(flags: WriteFlags, supported: ReadonlySet<WriteFlag> | undefined): WriteFlags {
    if (!supported) return NO_FLAGS
    const fua = flags.fua === true && supported.has('fua')
    if (!flags.mayUnmap && !flags.noFallback) return fua ? FUA : NO_FLAGS
    return {
      fua,
      mayUnmap: flags.mayUnmap === true && supported.has('mayUnmap'),
      noFallback: flags.noFallback === true && supported.has('noFallback'),
    }
  }

  /** Runs a write. If the driver does not support FUA itself, a flush afterwards replaces it. */
  async #forcing(
    flags: WriteFlags,
    supported: ReadonlySet<WriteFlag> | undefined,
    write: () => Promise<void>,
  ): Promise<void> {
    const flushes = flags.fua === true && !supported?.has('fua')
    if (flushes) this.#flushes.expect()
    try {
      await write()
    } finally {
      this.#flushes.wrote()
      if (flushes) this.#flushes.arrived()
    }
    if (!flushes) return
    await this.#flushes.flush()
    // One flush completes many writes at once: let the event loop turn between them.
    const turning = pause()
    if (turning) await turning
  }

  async #flushDriver(): Promise<void> {
    // As in QEMU, no-flush only skips the flush of the disk; formats above still write their caches.
    if (this.#isProtocol && this.#owner.config.noFlush) return
    this.#owner.requireAlive()
    await this.#ops.flush?.()
  }
}

/** Limits with every field filled in. */
function completeLimits(limits: Partial<BlockLimits> = {}): BlockLimits {
  const { requestAlignment = 1, maxTransfer = Number.MAX_SAFE_INTEGER, compressedAlignment = 1 } = limits
  return {
    requestAlignment,
    // Pieces of a split request are aligned too.
    maxTransfer: Math.max(alignDown(maxTransfer, requestAlignment), requestAlignment),
    writeZeroesAlignment: limits.writeZeroesAlignment ?? 1,
    maxWriteZeroes: limits.maxWriteZeroes ?? Number.MAX_SAFE_INTEGER,
    discardAlignment: limits.discardAlignment ?? 1,
    maxDiscard: limits.maxDiscard ?? Number.MAX_SAFE_INTEGER,
    compressedAlignment: Math.max(compressedAlignment, requestAlignment),
  }
}
