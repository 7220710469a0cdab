/**
 * One node of the block graph, as its users and its parents see it. It checks, pads, splits, orders and
 * counts requests, so that a driver ({@link NodeOps}) is only ever given requests it can trust.
 */
import { EventEmitter } from 'eventemitter3'
import { alignDown, alignUp, isZero } from './bits.ts'
import { clipStatus, resolveStatus } from './block-status.ts'
import type { BlockChild } from './child.ts'
import type { DebugEvent } from './debug-events.ts'
import type {
  AnyDriver,
  BlockLimits,
  BlockStatus,
  CheckOptions,
  CheckReport,
  ChildRole,
  CorruptEvent,
  NodeInfo,
  NodeOps,
  TruncateOptions,
  WriteFlags,
} from './driver.ts'
import { BlockError } from './errors.ts'
import { discardInPieces, writeZeroesInPieces } from './fallbacks.ts'
import { FlushQueue } from './flush-queue.ts'
import type { NodeConfig } from './node-config.ts'
import { readPadded, writePadded } from './padding.ts'
import { RangeTracker } from './range-tracker.ts'

/** What users of a node may listen to. Listeners are not awaited. */
export interface NodeEvents {
  /** New size in bytes. */
  resize: [size: number]
  corrupt: [event: CorruptEvent]
  'io-error': [event: IoErrorEvent]
  repair: [report: CheckReport]
  /** A line for a person. */
  warn: [line: string]
  close: []
}

/** A request of a user that failed. QEMU's BLOCK_IO_ERROR. */
export interface IoErrorEvent {
  readonly operation: 'read' | 'write' | 'flush' | 'discard'
  readonly offset: number
  readonly error: unknown
}

/** Everything a node is made of. Made by `openNode`. */
export interface NodeInit {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly config: NodeConfig
  readonly ops: NodeOps
  readonly children: ReadonlyMap<ChildRole, BlockChild>
}

/** The longest request QEMU accepts, in bytes: INT_MAX rounded down to a sector. */
export const MAX_REQUEST = 2147483136

const NO_FLAGS: WriteFlags = Object.freeze({})
const FUA: WriteFlags = Object.freeze({ fua: true })

type State = 'open' | 'corrupt' | 'closing' | 'closed' | 'crashed'

/** A disk, or a layer of one. */
export class BlockNode extends EventEmitter<NodeEvents> {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly children: ReadonlyMap<ChildRole, BlockChild>
  readonly #ops: NodeOps
  readonly #parents = new Set<BlockChild>()
  readonly #flushes: FlushQueue
  readonly #ranges = new RangeTracker()
  #config: NodeConfig
  #limits: BlockLimits
  #state: State = 'open'
  #inFlight = 0
  #idle: (() => void)[] = []
  /** While set, new requests wait for it: the node is being reopened, resized or checked. */
  #gate: Promise<void> | undefined
  /** The ends of the node, once begun: each comes once, and later calls wait for it. */
  #closing: Promise<void> | undefined
  #crashing: Promise<void> | undefined

  constructor(init: NodeInit) {
    super()
    this.name = init.name
    this.driver = init.driver
    this.filename = init.filename
    this.children = init.children
    this.#config = init.config
    this.#ops = init.ops
    this.#limits = completeLimits(init.ops.limits)
    this.#flushes = new FlushQueue(() => this.#flushDriver())
    for (const child of init.children.values()) child.node.addParent(child)
  }

  // ---- facts ----

  /** Bytes. */
  get size(): number {
    return this.#ops.size()
  }
  get limits(): BlockLimits {
    return this.#limits
  }
  get config(): NodeConfig {
    return this.#config
  }
  get readOnly(): boolean {
    return this.#config.readOnly
  }
  /** Whether writes may extend the node. */
  get growable(): boolean {
    return this.#ops.growable === true
  }
  get isOpen(): boolean {
    return this.#state === 'open' || this.#state === 'corrupt'
  }
  /** The child that holds the bytes of this node: what a filter filters, what a format is stored in. */
  get file(): BlockChild | undefined {
    return this.children.get('file') ?? this.children.get('image')
  }
  get backing(): BlockChild | undefined {
    return this.children.get('backing')
  }
  /** The driver's own object: for drivers that extend another, and for tests. */
  get ops(): NodeOps {
    return this.#ops
  }

  /** Whether the driver itself can do it; fallbacks (zeroes by writing) do not count. */
  can(operation: keyof NodeOps): boolean {
    return this.#ops[operation] !== undefined
  }

  // ---- requests ----

  /**
   * Reads exactly `into.length` bytes from `offset`.
   *
   * @throws BlockError EIO outside the node, ENOMEDIUM when closed, ECANCELED when it crashed meanwhile
   */
  async read(offset: number, into: Uint8Array): Promise<void> {
    const bytes = into.length
    while (this.#gate) await this.#gate
    this.#begin(offset, bytes)
    try {
      if (bytes === 0) return
      const { requestAlignment, maxTransfer } = this.#limits
      if (requestAlignment === 1) {
        if (bytes <= maxTransfer) await this.#ops.read(offset, into)
        else await this.#readAligned(offset, into)
      } else if (this.#isAligned(offset, bytes)) {
        await this.#ranges.run(offset, bytes, false, () => this.#readAligned(offset, into))
      } else {
        const start = alignDown(offset, requestAlignment)
        const length = this.#alignedEnd(offset + bytes) - start
        await this.#ranges.run(start, length, false, () =>
          readPadded((at, buffer) => this.#readAligned(at, buffer), start, length, offset, into),
        )
      }
    } catch (error) {
      throw this.#failed('read', offset, error)
    } finally {
      this.#end()
    }
  }

  /**
   * Writes `from` at `offset`. On a write-through node, or with `fua`, it is durable when the promise resolves.
   *
   * @throws BlockError EIO outside the node, EPERM when read-only, ENOMEDIUM when closed, ECANCELED
   */
  async write(offset: number, from: Uint8Array, flags: WriteFlags = NO_FLAGS): Promise<void> {
    const bytes = from.length
    while (this.#gate) await this.#gate
    this.#beginWrite(offset, bytes, this.#ops.write !== undefined)
    try {
      if (bytes === 0) return
      const { detectZeroes } = this.#config
      if (detectZeroes !== 'off' && isZero(from)) {
        const mayUnmap = detectZeroes === 'unmap'
        await this.#zero(offset, bytes, { ...flags, mayUnmap })
        return
      }
      if (this.#isAligned(offset, bytes)) {
        if (this.#limits.requestAlignment === 1) await this.#writeAligned(offset, from, flags)
        else await this.#ranges.run(offset, bytes, false, () => this.#writeAligned(offset, from, flags))
      } else {
        await this.#writeUnaligned(offset, from, flags)
      }
      await this.#forceUnitAccess(flags, this.#ops.writeFlags)
    } catch (error) {
      throw this.#failed('write', offset, error)
    } finally {
      this.#end()
    }
  }

  /** Writes data compressed, where the format can. `offset` must start a cluster. @throws BlockError ENOTSUP */
  async writeCompressed(offset: number, from: Uint8Array): Promise<void> {
    while (this.#gate) await this.#gate
    this.#beginWrite(offset, from.length, this.#ops.write !== undefined)
    try {
      const { writeCompressed } = this.#ops
      if (!writeCompressed) throw this.#unsupported('compressed writes')
      if (from.length === 0) return
      try {
        await writeCompressed.call(this.#ops, offset, from)
      } finally {
        this.#flushes.wrote()
      }
      if (!this.#config.writeCache) await this.#flushes.flush()
    } catch (error) {
      throw this.#failed('write', offset, error)
    } finally {
      this.#end()
    }
  }

  /** Makes a range read as zeroes: by the driver's own means, else by writing zeroes (unless `noFallback`). */
  async writeZeroes(offset: number, bytes: number, flags: WriteFlags = NO_FLAGS): Promise<void> {
    while (this.#gate) await this.#gate
    this.#beginWrite(offset, bytes, this.#ops.write !== undefined)
    try {
      if (bytes === 0) return
      await this.#zero(offset, bytes, flags)
    } catch (error) {
      throw this.#failed('write', offset, error)
    } finally {
      this.#end()
    }
  }

  /** Gives up the content of a range. Advice: nothing happens where the driver cannot, or discard is off. */
  async discard(offset: number, bytes: number): Promise<void> {
    while (this.#gate) await this.#gate
    this.#beginWrite(offset, bytes, this.#ops.write !== undefined)
    try {
      const { discard } = this.#ops
      if (bytes === 0 || !discard || !this.#config.unmap) return
      const run = async (at: number, length: number): Promise<void> => {
        this.#requireAlive()
        await discard.call(this.#ops, at, length)
      }
      try {
        await this.#ranges.run(offset, bytes, false, () => discardInPieces(run, this.#limits, offset, bytes))
      } finally {
        this.#flushes.wrote()
      }
    } catch (error) {
      throw this.#failed('discard', offset, error)
    } finally {
      this.#end()
    }
  }

  /** Makes everything durable whose request completed before the call. */
  async flush(): Promise<void> {
    while (this.#gate) await this.#gate
    this.#begin(0, 0)
    try {
      await this.#flushes.flush()
    } catch (error) {
      throw this.#failed('flush', 0, error)
    } finally {
      this.#end()
    }
  }

  /**
   * Changes the size, in bytes.
   *
   * @throws BlockError EPERM when read-only, ENOTSUP, EINVAL
   */
  async truncate(size: number, options: TruncateOptions = {}): Promise<void> {
    while (this.#gate) await this.#gate
    this.#beginWrite(0, 0, true)
    const before = this.size
    try {
      const { truncate } = this.#ops
      if (!Number.isSafeInteger(size) || size < 0)
        throw new BlockError('EINVAL', 'Image size cannot be negative', { node: this.name })
      if (!truncate)
        throw new BlockError('ENOTSUP', 'Image format driver does not support resize', { node: this.name })
      // What is cut off, or appears, belongs to this request alone.
      const from = Math.min(size, before)
      await this.#ranges.run(from, Number.MAX_SAFE_INTEGER - from, true, async () => {
        try {
          this.#requireAlive()
          await truncate.call(this.#ops, size, options)
        } finally {
          this.#flushes.wrote()
        }
      })
      if (!this.#config.writeCache) await this.#flushes.flush()
    } finally {
      this.#end()
    }
    if (this.size !== before) this.emit('resize', this.size)
  }

  /**
   * What this layer holds at `offset`. The answer may be shorter than `bytes`, never longer.
   *
   * @returns `bytes: 0` at and beyond the end
   */
  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    while (this.#gate) await this.#gate
    const { size } = this
    this.#begin(Math.min(offset, size), 0)
    try {
      const wanted = Math.min(bytes, size - offset)
      if (wanted <= 0) return { bytes: 0, allocated: false, data: false, zero: true }
      const { blockStatus } = this.#ops
      if (!blockStatus) return { bytes: wanted, allocated: true, data: true, zero: false }
      const start = alignDown(offset, this.#limits.requestAlignment)
      const end = Math.min(alignUp(offset + wanted, this.#limits.requestAlignment), size)
      const status = await blockStatus.call(this.#ops, start, end - start)
      return await resolveStatus(clipStatus(status, start, offset, wanted))
    } finally {
      this.#end()
    }
  }

  /** Reads from the VM state area; `offset` counts from its start. @throws BlockError ENOTSUP */
  readVmState(offset: number, into: Uint8Array): Promise<void> {
    return this.#plain('readVmState', (ops) => ops.readVmState?.(offset, into))
  }
  /** Writes to the VM state area; `offset` counts from its start. @throws BlockError ENOTSUP, EPERM */
  async writeVmState(offset: number, from: Uint8Array): Promise<void> {
    this.#requireWritable(this.#ops.writeVmState !== undefined)
    try {
      await this.#plain('writeVmState', (ops) => ops.writeVmState?.(offset, from))
    } finally {
      this.#flushes.wrote()
    }
    if (!this.#config.writeCache) await this.flush()
  }

  // ---- whole-node operations ----

  /** Checks the image's structure, and repairs it if asked. @throws BlockError ENOTSUP */
  async check(options: CheckOptions = {}): Promise<CheckReport> {
    const { check } = this.#ops
    if (!check) throw this.#unsupported('checks')
    if (options.repair) this.#requireWritable(true)
    const report = await this.drained(() => check.call(this.#ops, options))
    if (options.repair) this.#flushes.wrote()
    return report
  }

  /** Facts of the image, as its driver knows them. */
  info(): Promise<NodeInfo> {
    return this.#plain('info', (ops) => (ops.info ? ops.info() : Promise.resolve({})))
  }

  /** Drops everything this layer holds, so that the backing file shows through. @throws BlockError ENOTSUP */
  makeEmpty(): Promise<void> {
    return this.#exclusive('makeEmpty', (ops) => ops.makeEmpty?.())
  }

  /** Rewrites what the header says of the backing file. @throws BlockError ENOTSUP */
  changeBackingFile(filename: string | null, format: string | undefined): Promise<void> {
    return this.#exclusive('changeBackingFile', (ops) => ops.changeBackingFile?.(filename, format))
  }

  /** Changes creation options of the image, keys as in `qemu-img amend -o`. @throws BlockError ENOTSUP, EINVAL */
  async amend(
    options: Readonly<Record<string, unknown>>,
    progress?: (done: number, total: number) => void,
  ): Promise<void> {
    const before = this.size
    await this.#exclusive('amend', (ops) => ops.amend?.(options, progress))
    if (this.size !== before) this.emit('resize', this.size)
  }

  /** Announces a step of the driver above; undefined, nothing to await, when nobody debugs. */
  debugEvent(event: DebugEvent): void | Promise<void> {
    return this.#ops.debugEvent?.(event)
  }

  // ---- life cycle ----

  /** Resolves when no request is in flight. New ones may come meanwhile. */
  async drain(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Runs `body` with no request in flight, and holds new ones back until it has settled. */
  async drained<T>(body: () => Promise<T>): Promise<T> {
    while (this.#gate) await this.#gate
    let open!: () => void
    this.#gate = new Promise((resolve) => (open = resolve))
    try {
      await this.drain()
      if (!this.isOpen) throw this.#closedError()
      return await body()
    } finally {
      this.#gate = undefined
      open()
    }
  }

  /**
   * Drains, lets the driver shut down cleanly, and gives up the children. A second call waits for the first.
   *
   * @throws BlockError EBUSY while other nodes use this one; whatever the driver's own shutdown met
   */
  async close(): Promise<void> {
    if (this.#state === 'closed' || this.#state === 'crashed') return
    if (this.#parents.size > 0) {
      const [parent] = this.#parents
      throw new BlockError('EBUSY', `node '${this.name}' is in use by node '${parent?.parent}'`, {
        node: this.name,
      })
    }
    this.#closing ??= this.#shutDown()
    await this.#closing
  }

  async #shutDown(): Promise<void> {
    // The last look and the change of state are one step: no request begins between them.
    while (this.#gate || this.#inFlight > 0) await (this.#gate ?? this.drain())
    if (this.#state === 'crashed') return
    const wasCorrupt = this.#state === 'corrupt'
    this.#state = 'closing'
    let failure: unknown
    try {
      if (!wasCorrupt) await this.#ops.close?.()
    } catch (error) {
      failure = error
    }
    if (this.#hasCrashed) throw this.#closedError()
    for (const child of this.children.values()) {
      await child.node.releasedBy(child).catch((error: unknown) => (failure ??= error))
    }
    if (this.#hasCrashed) throw this.#closedError()
    this.#state = 'closed'
    this.emit('close')
    if (failure !== undefined) throw failure
  }

  /**
   * What the death of the process would do to this node: requests in flight are rejected, caches dropped,
   * nothing flushed, nothing closed cleanly. From the moment of the call nothing more of it is written.
   * Resolves when the host's resources are released and the image may be opened again.
   */
  async crash(): Promise<void> {
    if (this.#state === 'closed') return
    this.#crashing ??= this.#die()
    await this.#crashing
  }

  async #die(): Promise<void> {
    this.#state = 'crashed'
    const releases: Promise<void>[] = []
    const released = this.#ops.crash?.()
    if (released) releases.push(released)
    for (const child of this.children.values()) {
      child.sever()
      releases.push(child.node.releasedBy(child, true))
    }
    await Promise.all(releases)
    this.emit('close')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- the graph: for `open`, `reopen` and edges ----

  /** @internal */
  addParent(edge: BlockChild): void {
    this.#parents.add(edge)
  }
  /** @internal */
  removeParent(edge: BlockChild): void {
    this.#parents.delete(edge)
  }
  /** @internal A parent lets go; the last one of a node that was opened for its parents closes it. */
  async releasedBy(edge: BlockChild, crashed = false): Promise<void> {
    this.#parents.delete(edge)
    if (this.#parents.size > 0 || !this.#config.ownedByParents) return
    await (crashed ? this.crash() : this.close())
  }
  /** @internal The driver, or a reopen, changed what the node is. */
  reconfigure(config: NodeConfig): void {
    this.#config = config
    this.#limits = completeLimits(this.#ops.limits)
  }
  /** @internal The driver found the image broken. */
  markCorrupt(event: CorruptEvent): void {
    if (event.fatal && this.#state === 'open') this.#state = 'corrupt'
    this.emit('corrupt', event)
  }

  // ---- inside ----

  /** A crash may come while anything is awaited. */
  get #hasCrashed(): boolean {
    return this.#crashing !== undefined
  }

  /** Between the steps of one request: after a crash the driver is asked nothing more. */
  #requireAlive(): void {
    if (this.#hasCrashed) throw this.#closedError()
  }

  #begin(offset: number, bytes: number): void {
    if (this.#state !== 'open') throw this.#closedError()
    if (!Number.isSafeInteger(offset) || offset < 0) throw this.#outside(offset, bytes)
    if (
      offset + bytes > this.#ops.size() &&
      (!this.#ops.growable || offset + bytes > Number.MAX_SAFE_INTEGER)
    )
      throw this.#outside(offset, bytes)
    this.#inFlight++
  }

  #beginWrite(offset: number, bytes: number, canWrite: boolean): void {
    if (this.#state !== 'open') throw this.#closedError()
    this.#requireWritable(canWrite)
    this.#begin(offset, bytes)
  }

  #requireWritable(canWrite: boolean): void {
    if (this.#config.readOnly || !canWrite)
      throw new BlockError('EPERM', `Block node '${this.name}' is read-only`, { node: this.name })
  }

  /** Ends a request. Throwing here, in `finally`, turns a success that came after a crash into a failure. */
  #end(): void {
    this.#inFlight--
    if (this.#inFlight === 0 && this.#idle.length > 0) this.#wakeIdle()
    if (this.#state === 'crashed') throw this.#closedError()
  }

  #wakeIdle(): void {
    const waiting = this.#idle
    this.#idle = []
    for (const resolve of waiting) resolve()
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

  async #readAligned(offset: number, into: Uint8Array): Promise<void> {
    const { maxTransfer } = this.#limits
    for (let done = 0; done < into.length; done += maxTransfer) {
      this.#requireAlive()
      await this.#ops.read(offset + done, into.subarray(done, done + maxTransfer))
    }
  }

  async #writeAligned(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    const ops = this.#ops
    const { maxTransfer } = this.#limits
    try {
      if (ops.debugEvent) await ops.debugEvent('pwritev')
      if (from.length <= maxTransfer) await this.#writeNow(offset, from, flags)
      else {
        for (let done = 0; done < from.length; done += maxTransfer) {
          await this.#writeNow(offset + done, from.subarray(done, done + maxTransfer), flags)
        }
      }
    } finally {
      this.#flushes.wrote()
      if (ops.debugEvent) await ops.debugEvent('pwritev_done')
    }
  }

  #writeNow(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    this.#requireAlive()
    return this.#ops.write!(offset, from, this.#supported(flags, this.#ops.writeFlags))
  }

  #writeZeroesNow(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    this.#requireAlive()
    return this.#ops.writeZeroes!(offset, bytes, this.#supported(flags, this.#ops.zeroFlags))
  }

  #writeUnaligned(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    const start = alignDown(offset, this.#limits.requestAlignment)
    const length = this.#alignedEnd(offset + from.length) - start
    // Read, change and write back must be one step for everybody who touches the same blocks.
    return this.#ranges.run(start, length, true, () =>
      writePadded(
        {
          alignment: this.#limits.requestAlignment,
          read: (at, into) => this.#readAligned(at, into),
          write: (at, data) => this.#writeAligned(at, data, flags),
          debugEvent: (event) => this.#ops.debugEvent?.(event),
        },
        start,
        length,
        offset,
        from,
      ),
    )
  }

  async #zero(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    await this.#zeroPieces(offset, bytes, flags)
    // Some of it may have been written as data, so the driver must know FUA in both ways.
    const { zeroFlags, writeFlags } = this.#ops
    await this.#forceUnitAccess(flags, zeroFlags?.has('fua') ? writeFlags : undefined)
  }

  async #zeroPieces(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    const ops = this.#ops
    const wanted = flags.mayUnmap && !this.#config.unmap ? { ...flags, mayUnmap: false } : flags
    const alignment = this.#limits.requestAlignment
    const start = alignUp(offset, alignment)
    const end = Math.max(
      start,
      this.#isAligned(start, offset + bytes - start) ? offset + bytes : alignDown(offset + bytes, alignment),
    )
    // The ends that do not fill a block are data for a read-modify-write; the middle is for the driver.
    if (start > offset || end < offset + bytes) {
      if (start >= end) return this.#writeUnaligned(offset, new Uint8Array(bytes), flags)
      if (start > offset) await this.#writeUnaligned(offset, new Uint8Array(start - offset), flags)
      if (end < offset + bytes) await this.#writeUnaligned(end, new Uint8Array(offset + bytes - end), flags)
    }
    await this.#ranges.run(start, end - start, false, async () => {
      try {
        if (ops.debugEvent) await ops.debugEvent('pwritev_zero')
        await writeZeroesInPieces(
          {
            limits: this.#limits,
            writeZeroes: ops.writeZeroes && (async (at, length, f) => this.#writeZeroesNow(at, length, f)),
            write: async (at, data) => this.#writeNow(at, data, flags),
          },
          start,
          end - start,
          wanted,
        )
      } finally {
        this.#flushes.wrote()
        if (ops.debugEvent) await ops.debugEvent('pwritev_done')
      }
    })
  }

  /** The flags that the driver handles itself; on a write-through node every write asks for FUA. */
  #supported(flags: WriteFlags, supported: ReadonlySet<keyof WriteFlags> | undefined): WriteFlags {
    if (!supported) return NO_FLAGS
    const fua = (flags.fua === true || !this.#config.writeCache) && supported.has('fua')
    if (!flags.mayUnmap && !flags.noFallback) return fua ? FUA : NO_FLAGS
    return {
      fua,
      mayUnmap: flags.mayUnmap === true && supported.has('mayUnmap'),
      noFallback: flags.noFallback === true && supported.has('noFallback'),
    }
  }

  /** A flush after the write is what FUA means where the driver has none of its own. */
  async #forceUnitAccess(
    flags: WriteFlags,
    supported: ReadonlySet<keyof WriteFlags> | undefined,
  ): Promise<void> {
    if ((flags.fua === true || !this.#config.writeCache) && !supported?.has('fua'))
      await this.#flushes.flush()
  }

  async #flushDriver(): Promise<void> {
    // QEMU's no-flush stops before the disk, not before the caches of the formats above it.
    if (this.driver.kind === 'protocol' && this.#config.noFlush) return
    this.#requireAlive()
    await this.#ops.flush?.()
  }

  async #plain<T>(name: keyof NodeOps, run: (ops: NodeOps) => Promise<T> | undefined): Promise<T> {
    while (this.#gate) await this.#gate
    this.#begin(0, 0)
    try {
      const result = run(this.#ops)
      if (!result) throw this.#unsupported(name)
      return await result
    } finally {
      this.#end()
    }
  }

  async #exclusive(name: keyof NodeOps, run: (ops: NodeOps) => Promise<void> | undefined): Promise<void> {
    this.#requireWritable(true)
    if (!this.#ops[name]) throw this.#unsupported(name)
    await this.drained(async () => {
      try {
        await run(this.#ops)
      } finally {
        this.#flushes.wrote()
      }
    })
  }

  #failed(operation: IoErrorEvent['operation'], offset: number, error: unknown): unknown {
    if (this.#state === 'crashed') return this.#closedError()
    if (this.listenerCount('io-error') > 0) this.emit('io-error', { operation, offset, error })
    return error
  }

  #outside(offset: number, bytes: number): BlockError {
    return new BlockError('EIO', `request [${offset}, +${bytes}) is outside node '${this.name}'`, {
      node: this.name,
      offset,
    })
  }
  #unsupported(what: string): BlockError {
    return new BlockError('ENOTSUP', `driver '${this.driver.name}' does not support ${what}`, {
      node: this.name,
    })
  }
  #closedError(): BlockError {
    return this.#state === 'crashed'
      ? new BlockError('ECANCELED', `node '${this.name}' crashed`, { node: this.name })
      : new BlockError('ENOMEDIUM', `node '${this.name}' is closed`, { node: this.name })
  }
}

/** Limits with every field filled in. */
function completeLimits(limits: Partial<BlockLimits> = {}): BlockLimits {
  const { requestAlignment = 1, maxTransfer = Number.MAX_SAFE_INTEGER } = limits
  return {
    requestAlignment,
    // Pieces of a split request are aligned too.
    maxTransfer: Math.max(alignDown(maxTransfer, requestAlignment), requestAlignment),
    writeZeroesAlignment: limits.writeZeroesAlignment ?? 1,
    maxWriteZeroes: limits.maxWriteZeroes ?? Number.MAX_SAFE_INTEGER,
    discardAlignment: limits.discardAlignment ?? 1,
    maxDiscard: limits.maxDiscard ?? Number.MAX_SAFE_INTEGER,
  }
}
