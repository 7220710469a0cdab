/**
 * One node of the block graph, as its users and its parents see it: it decides which requests are valid,
 * counts them, and ends them when it is closed or crashes. What becomes of valid ones is in requests.ts.
 */
import { EventEmitter } from 'eventemitter3'
import { alignDown, alignUp } from './bits.ts'
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
  SnapshotInfo,
  TruncateOptions,
  WriteFlags,
} from './driver.ts'
import { loopBudget, pause } from './drivers/event-loop.ts'
import { BlockError, isBlockError } from './errors.ts'
import type { NodeConfig, NodeInit } from './node-config.ts'
import { goneError, outsideError, unsupportedError } from './node-errors.ts'
import type { IoErrorEvent, NodeEvents } from './node-events.ts'
import { ParentEdges } from './parent-edges.ts'
import { settlePermissions } from './permissions.ts'
import { RequestGate } from './request-gate.ts'
import { NO_FLAGS, type RequestOwner, Requests } from './requests.ts'

/** The longest request QEMU accepts, in bytes: INT_MAX rounded down to a sector. */
export const MAX_REQUEST = 2147483136

type State = 'open' | 'corrupt' | 'closing' | 'closed' | 'crashed'

/** A disk, or a layer of one. */
export class BlockNode extends EventEmitter<NodeEvents> {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly children: ReadonlyMap<ChildRole, BlockChild>
  readonly #ops: NodeOps
  /** @internal The edges that lead here. */
  readonly parents = new ParentEdges()
  readonly #requests: Requests
  #config: NodeConfig
  #state: State = 'open'
  /** New requests wait there while the node is being reopened, resized or checked. */
  readonly #gate = new RequestGate()
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
    this.#requests = new Requests(init.ops, this.#owner())
    for (const child of init.children.values()) {
      child.owner = this
      child.node.parents.add(child)
    }
  }

  // ---- facts ----

  /** Bytes. */
  get size(): number {
    return this.#ops.size()
  }
  get limits(): BlockLimits {
    return this.#requests.limits
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
    while (this.#gate.all) await this.#gate.all
    this.#begin(offset, bytes)
    try {
      if (loopBudget.spend(bytes)) await this.#turn()
      if (bytes > 0) await this.#requests.read(offset, into)
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
    while (this.#gate.writes) await this.#gate.writes
    this.#beginWrite(offset, bytes, this.#ops.write !== undefined)
    try {
      if (loopBudget.spend(bytes)) await this.#turn()
      if (bytes > 0) await this.#requests.write(offset, from, flags)
    } catch (error) {
      throw this.#failed('write', offset, error)
    } finally {
      this.#end()
    }
  }

  /** Writes data compressed, where the format can. `offset` must start a cluster. @throws BlockError ENOTSUP */
  writeCompressed(offset: number, from: Uint8Array): Promise<void> {
    return this.#change('write', offset, from.length, async () => {
      if (!this.#ops.writeCompressed) throw unsupportedError(this, 'compressed writes')
      if (from.length > 0) await this.#requests.writeCompressed(offset, from)
    })
  }

  /** Makes a range read as zeroes: by the driver's own means, else by writing zeroes (unless `noFallback`). */
  writeZeroes(offset: number, bytes: number, flags: WriteFlags = NO_FLAGS): Promise<void> {
    return this.#change('write', offset, bytes, async () => {
      if (bytes > 0) await this.#requests.writeZeroes(offset, bytes, flags)
    })
  }

  /** Gives up the content of a range. Advice: nothing happens where the driver cannot, or discard is off. */
  discard(offset: number, bytes: number): Promise<void> {
    return this.#change('discard', offset, bytes, async () => {
      if (bytes > 0 && this.#ops.discard && this.#config.unmap) await this.#requests.discard(offset, bytes)
    })
  }

  /**
   * Copies from another node inside the host, so that the bytes do not pass through this process. `source` is
   * the node of a protocol: `host.child.node` of what {@link blockStatus} says of the data, at `host.offset`. Only
   * data is worth it: a hole may become zeroes that take space.
   *
   * @throws BlockError ENOTSUP where that cannot be done between these two: then the whole range is to be copied
   *   otherwise; EIO outside either node; what {@link write} throws
   */
  copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void> {
    return this.#change('write', offset, bytes, async () => {
      if (!this.#ops.copyRange || source === this) throw unsupportedError(this, 'copying from that node')
      if (bytes === 0) return
      const copy = () => this.#requests.copyRange(offset, bytes, source, sourceOffset)
      // The source is held where the copy is made: who hands it on must not keep the source from being drained.
      await (this.driver.kind === 'protocol' ? source.#counted(sourceOffset, bytes, copy) : copy())
    })
  }

  /** Makes everything durable whose request completed before the call. Many share one flush, and go on in turns. */
  flush(): Promise<void> {
    const failed = (error: unknown): Promise<never> => Promise.reject(this.#failed('flush', 0, error))
    return this.#counted(0, 0, () => this.#requests.flush().then(() => pause(), failed))
  }

  /**
   * Changes the size, in bytes.
   *
   * @throws BlockError EPERM when read-only, ENOTSUP, EINVAL
   */
  async truncate(size: number, options: TruncateOptions = {}): Promise<void> {
    // A format lets go of clusters, and nobody may be on his way to one. What is below changes its length in one
    // step, under requests that may be held up by who makes it longer (or by a debugger).
    if (this.driver.kind === 'format')
      return this.withoutWrites(() => this.drained(() => this.#resize(size, options)))
    while (this.#gate.writes) await this.#gate.writes
    await this.#resize(size, options)
  }

  async #resize(size: number, options: TruncateOptions): Promise<void> {
    this.#beginWrite(0, 0, true)
    const before = this.size
    try {
      if (!Number.isSafeInteger(size) || size < 0)
        throw new BlockError('EINVAL', 'Image size cannot be negative', { node: this.name })
      if (!this.#ops.truncate)
        throw new BlockError('ENOTSUP', 'Image format driver does not support resize', { node: this.name })
      // What the backing file holds beyond the old end must not appear with the space.
      const zero = size > before && (this.backing?.size ?? 0) > before
      await this.#requests.truncate(size, zero ? { ...options, zero } : options)
    } finally {
      this.#end()
    }
    if (this.size !== before) this.emit('resize', this.size)
  }

  /**
   * What this layer holds at `offset`. The answer may be shorter than `bytes`, never longer. The last block of a
   * node that can grow counts as a whole one.
   *
   * @returns `bytes: 0` at and beyond the end
   */
  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    while (this.#gate.all) await this.#gate.all
    const size = this.growable ? alignUp(this.size, this.limits.requestAlignment) : this.size
    this.#begin(Math.min(offset, size), 0)
    try {
      const wanted = Math.min(bytes, size - offset)
      if (wanted <= 0) return { bytes: 0, allocated: false, data: false, zero: true }
      if (loopBudget.spend(0)) await this.#turn()
      const { blockStatus } = this.#ops
      if (!blockStatus) return { bytes: wanted, allocated: true, data: true, zero: false }
      const start = alignDown(offset, this.limits.requestAlignment)
      const end = Math.min(alignUp(offset + wanted, this.limits.requestAlignment), size)
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
      this.#requests.wrote()
    }
    if (!this.#config.writeCache) await this.flush()
  }

  // ---- whole-node operations ----

  /** Checks the image's structure, and repairs it if asked. @throws BlockError ENOTSUP */
  async check(options: CheckOptions = {}): Promise<CheckReport> {
    const { check } = this.#ops
    if (!check) throw unsupportedError(this, 'checks')
    if (options.repair) this.#requireWritable(true)
    const report = await this.drained(() => check.call(this.#ops, options))
    if (options.repair) this.#requests.wrote()
    return report
  }

  /** Facts of the image, as its driver knows them. */
  info(): Promise<NodeInfo> {
    return this.#plain('info', (ops) => (ops.info ? ops.info() : Promise.resolve({})))
  }

  /** The internal snapshots, in the order of the image's table; none where the format has no such thing. */
  listSnapshots(): Promise<readonly SnapshotInfo[]> {
    return this.#plain('listSnapshots', (ops) => ops.listSnapshots?.() ?? Promise.resolve([]))
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
  drain(): Promise<void> {
    return this.#gate.drain()
  }

  /** Runs `body` with no request in flight, and holds new ones back until it has settled. */
  drained<T>(body: () => Promise<T>): Promise<T> {
    return this.#gate.drained(async () => {
      if (!this.isOpen) throw this.#closedError()
      return body()
    })
  }

  /** Runs `body` while nobody writes: new writes, discards and resizes wait until it has settled. */
  withoutWrites<T>(body: () => Promise<T>): Promise<T> {
    return this.#gate.withoutWrites(body)
  }

  /**
   * Drains, lets the driver shut down cleanly, and gives up the children. A second call waits for the first.
   *
   * @throws BlockError EBUSY while other nodes use this one; whatever the driver's own shutdown met
   */
  async close(): Promise<void> {
    if (this.#state === 'closed' || this.#state === 'crashed') return
    if (this.parents.size > 0) {
      const [parent] = this.parents
      throw new BlockError('EBUSY', `node '${this.name}' is in use by node '${parent?.parent}'`, {
        node: this.name,
      })
    }
    this.#closing ??= this.#shutDown()
    await this.#closing
  }

  async #shutDown(): Promise<void> {
    // The last look and the change of state are one step: no request begins between them.
    while (!this.#gate.isFree) await (this.#gate.all ?? this.drain())
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

  /** @internal A parent lets go; the last one of a node that was opened for its parents closes it. */
  async releasedBy(edge: BlockChild, crashed = false): Promise<void> {
    this.parents.delete(edge)
    if (this.parents.size > 0 || !this.#config.ownedByParents) return settlePermissions([this])
    await (crashed ? this.crash() : this.close())
  }
  /** @internal The driver, or a reopen, changed what the node is. */
  reconfigure(config: NodeConfig): void {
    this.#config = config
    this.#requests.refresh()
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

  #owner(): RequestOwner {
    const config = (): NodeConfig => this.#config
    return {
      get config() {
        return config()
      },
      isProtocol: this.driver.kind === 'protocol',
      requireAlive: () => {
        if (this.#hasCrashed) throw this.#closedError()
      },
    }
  }

  #begin(offset: number, bytes: number): void {
    if (this.#state !== 'open') throw this.#closedError()
    if (!Number.isSafeInteger(offset) || offset < 0) throw outsideError(this, offset, bytes)
    if (
      offset + bytes > this.#ops.size() &&
      (!this.#ops.growable || offset + bytes > Number.MAX_SAFE_INTEGER)
    )
      throw outsideError(this, offset, bytes)
    this.#gate.begin()
  }

  #beginWrite(offset: number, bytes: number, canWrite: boolean): void {
    if (this.#state !== 'open') throw this.#closedError()
    this.#requireWritable(canWrite)
    this.#begin(offset, bytes)
  }

  /** One request that changes something; the frequent ones spell this out, for they are called too often. */
  async #change(
    operation: IoErrorEvent['operation'],
    offset: number,
    bytes: number,
    run: () => Promise<void>,
  ): Promise<void> {
    while (this.#gate.writes) await this.#gate.writes
    this.#beginWrite(offset, bytes, this.#ops.write !== undefined)
    try {
      if (loopBudget.spend(0)) await this.#turn()
      await run()
    } catch (error) {
      throw isBlockError(error, 'ENOTSUP') ? error : this.#failed(operation, offset, error)
    } finally {
      this.#end()
    }
  }

  /** Runs `body` as a request that changes nothing. */
  async #counted<T>(offset: number, bytes: number, body: () => Promise<T>): Promise<T> {
    while (this.#gate.all) await this.#gate.all
    this.#begin(offset, bytes)
    try {
      if (loopBudget.spend(0)) await this.#turn()
      return await body()
    } finally {
      this.#end()
    }
  }

  /** Lets the event loop turn. */
  async #turn(): Promise<void> {
    await loopBudget.wait(this.parents.size > 0 ? undefined : this)
    if (this.#hasCrashed) throw this.#closedError()
  }

  #requireWritable(canWrite: boolean): void {
    if (this.#config.readOnly || !canWrite)
      throw new BlockError('EPERM', `Block node '${this.name}' is read-only`, { node: this.name })
  }

  /** Ends a request. Throwing here, in `finally`, turns a success that came after a crash into a failure. */
  #end(): void {
    this.#gate.end()
    if (this.#state === 'crashed') throw this.#closedError()
  }

  #plain<T>(name: keyof NodeOps, run: (ops: NodeOps) => Promise<T> | undefined): Promise<T> {
    return this.#counted(0, 0, async () => {
      const result = run(this.#ops)
      if (!result) throw unsupportedError(this, name)
      return result
    })
  }

  async #exclusive(name: keyof NodeOps, run: (ops: NodeOps) => Promise<void> | undefined): Promise<void> {
    this.#requireWritable(true)
    if (!this.#ops[name]) throw unsupportedError(this, name)
    await this.drained(async () => {
      try {
        await run(this.#ops)
      } finally {
        this.#requests.wrote()
      }
    })
  }

  #failed(operation: IoErrorEvent['operation'], offset: number, error: unknown): unknown {
    if (this.#state === 'crashed') return this.#closedError()
    if (this.listenerCount('io-error') > 0) this.emit('io-error', { operation, offset, error })
    return error
  }

  #closedError(): BlockError {
    return goneError(this, this.#state === 'crashed')
  }
}
