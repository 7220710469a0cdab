/**
 * One node of the block graph, as its users and its parents see it: it decides which requests are valid,
 * counts them, and ends them when it is closed or crashes. requests.ts handles the valid ones.
 */

import { type Bytes, bytesOf, bytesToFill, goneBuffer } from '../base/arguments.ts'
import { alignUp } from '../base/bits.ts'
import { BlockError, type BlockErrorCode, isBlockError } from '../base/errors.ts'
import { loopBudget, pause } from '../base/event-loop.ts'
import { RequestGate } from '../base/request-gate.ts'
import type { ChangeKind, ChangeObserver } from '../contract/changes.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import { type JobControl, type PieceOptions, type RunAlone, UNCONTROLLED } from '../contract/job-control.ts'
import type { BlockNode, BlockStatus } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { IoErrorEvent } from '../contract/node-events.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type {
  CheckReport,
  CompactReport,
  CorruptEvent,
  NodeCheckOptions,
  NodeInfo,
  SnapshotInfo,
} from '../contract/reports.ts'
import type { BlockLimits, TruncateOptions, WriteFlags } from '../contract/requests.ts'
import { askStatus } from './block-status.ts'
import { linkedNode, registerNode } from './known-nodes.ts'
import type { Edge, LinkedNode } from './links.ts'
import * as check from './node-arguments.ts'
import { NodeBase, type NodeInit } from './node-base.ts'
import {
  busyError,
  closedError,
  markFailure,
  outsideError,
  readOnlyError,
  unsupportedError,
} from './node-errors.ts'
import { updatePermissions } from './permissions.ts'
import { NO_FLAGS, type RequestOwner, Requests } from './requests.ts'

/** The longest request QEMU accepts, in bytes: INT_MAX rounded down to a sector. */
export const MAX_REQUEST = 2147483136

type State = 'open' | 'corrupt' | 'closing' | 'closed' | 'crashed'

/** See {@link LinkedNode}. */
export class GraphNode extends NodeBase implements LinkedNode, RequestOwner {
  readonly #ops: NodeOps
  readonly #requests: Requests
  #config: CoreConfig
  #state: State = 'open'
  /** New requests wait here while the node is being reopened, resized or checked. */
  readonly #gate = new RequestGate()
  /** The shutdown and the crash of the node, once begun: each runs once, and later calls wait for it. */
  #closing: Promise<void> | undefined
  #crashing: Promise<void> | undefined

  constructor(init: NodeInit) {
    super(init)
    registerNode(this, () => this)
    this.#config = init.config
    this.#ops = init.ops
    this.#requests = new Requests(init.ops, this, init.driver.kind === 'protocol')
    for (const child of init.children.values()) {
      child.owner = this
      child.node.parents.add(child)
    }
  }

  // ---- facts ----

  protected get state(): State {
    return this.#state
  }
  get size(): number {
    return this.#ops.size()
  }
  get limits(): BlockLimits {
    return this.#requests.limits
  }
  get config(): CoreConfig {
    return this.#config
  }
  get readOnly(): boolean {
    return this.#config.readOnly
  }
  get growable(): boolean {
    return this.#ops.growable === true
  }
  get held(): Promise<void> | undefined {
    return this.#gate.all
  }
  get heldWrites(): Promise<void> | undefined {
    return this.#gate.writes
  }
  get isOpen(): boolean {
    return this.#state === 'open' || this.#state === 'corrupt'
  }
  get ops(): NodeOps {
    return this.#ops
  }

  // ---- requests ----

  async read(offset: number, into: Bytes): Promise<void> {
    const bytes = into instanceof Uint8Array && into.length > 0 ? into : bytesToFill(into)
    const { length } = bytes
    check.requireRange(this, offset, length)
    while (this.#gate.all) await this.#gate.all
    this.#begin(offset, length)
    try {
      if (loopBudget.spend(length)) {
        await this.#turn()
        this.requireAlive()
      }
      if (length > 0) await this.#requests.read(offset, bytes)
    } catch (error) {
      throw this.#failed('read', offset, error)
    } finally {
      this.#end()
    }
    if (bytes.length !== length) throw goneBuffer('into')
  }

  async write(offset: number, from: Bytes, flags: WriteFlags = NO_FLAGS): Promise<void> {
    const bytes = from instanceof Uint8Array && from.length > 0 ? from : bytesOf(from, 'from')
    const { length } = bytes
    check.requireRange(this, offset, length)
    if (flags !== NO_FLAGS) check.requireFlags(flags)
    while (this.#gate.writes) await this.#gate.writes
    this.#beginWrite(offset, length, this.#requests.canWrite)
    try {
      if (loopBudget.spend(length)) {
        await this.#turn()
        this.requireAlive()
      }
      if (length > 0) await this.#requests.write(offset, bytes, flags)
    } catch (error) {
      throw this.#failed('write', offset, error)
    } finally {
      this.#end()
    }
    if (bytes.length !== length) throw goneBuffer('from')
  }

  async writeCompressed(offset: number, from: Bytes): Promise<void> {
    const bytes = bytesOf(from, 'from')
    await this.#change('write', offset, bytes.length, async () => {
      if (!this.#ops.writeCompressed) throw unsupportedError(this, 'compressed writes')
      if (bytes.length > 0) await this.#requests.writeCompressed(offset, bytes)
    })
  }

  async writeZeroes(offset: number, bytes: number, flags: WriteFlags = NO_FLAGS): Promise<void> {
    if (flags !== NO_FLAGS) check.requireFlags(flags)
    await this.#change('write', offset, bytes, async () => {
      if (bytes > 0) await this.#requests.writeZeroes(offset, bytes, flags)
    })
  }

  discard(offset: number, bytes: number): Promise<void> {
    return this.#change('discard', offset, bytes, async () => {
      if (bytes > 0 && this.#ops.discard && this.#config.unmap) await this.#requests.discard(offset, bytes)
    })
  }

  async copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void> {
    check.requireSource(source, sourceOffset)
    await this.#change('write', offset, bytes, async () => {
      if (!this.#ops.copyRange || linkedNode(source) === this)
        throw unsupportedError(this, 'copying from that node')
      if (bytes === 0) return
      const copy = () => this.#requests.copyRange(offset, bytes, source, sourceOffset)
      // Only the protocol that copies holds the source: nodes that pass the request on must not block
      // draining it.
      await (this.driver.kind === 'protocol' ? linkedNode(source).counted(sourceOffset, bytes, copy) : copy())
    })
  }

  flush(): Promise<void> {
    const failed = (error: unknown): Promise<never> => Promise.reject(this.#failed('flush', 0, error))
    return this.counted(0, 0, () => this.#requests.flush().then(() => pause(), failed))
  }

  async truncate(size: number, options: TruncateOptions = {}): Promise<void> {
    check.requireTruncate(size, options)
    // A format frees clusters, and no request may be about to access one. Protocols and filters change their
    // length in one step, also under requests: these may be waiting for the very format that resizes (or for
    // a debugger).
    if (this.driver.kind === 'format')
      return this.withoutWrites(() => this.drained(() => this.#resize(size, options)))
    while (this.#gate.writes) await this.#gate.writes
    await this.#resize(size, options)
  }

  async #resize(size: number, options: TruncateOptions): Promise<void> {
    this.#beginWrite(0, 0, true)
    const before = this.size
    try {
      if (!this.#ops.truncate)
        throw new BlockError('ENOTSUP', 'Image format driver does not support resize', { node: this.name })
      // The content of the backing file beyond the old end must not show through in the new space.
      const zero = size > before && (this.backing?.size ?? 0) > before
      await this.#requests.truncate(size, zero ? { ...options, zero } : options)
    } finally {
      this.#end()
    }
    if (this.size !== before) this.emit('resize', this.size)
  }

  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    check.requireRange(this, offset, bytes)
    while (this.#gate.all) await this.#gate.all
    this.#begin(0, 0)
    try {
      if (loopBudget.spend(0)) {
        await this.#turn()
        this.requireAlive()
      }
      const size = this.growable ? alignUp(this.size, this.limits.requestAlignment) : this.size
      const wanted = Math.min(bytes, size - offset)
      if (wanted <= 0) return { bytes: 0, allocated: false, data: false, zero: true }
      return await askStatus(this.#ops, this.limits, size, offset, wanted)
    } finally {
      this.#end()
    }
  }

  async readVmState(offset: number, into: Bytes): Promise<void> {
    const bytes = bytesToFill(into)
    check.requireRange(this, offset, bytes.length)
    await this.#plain('readVmState', (ops) => ops.readVmState?.(offset, bytes))
  }
  async writeVmState(offset: number, from: Bytes): Promise<void> {
    const bytes = bytesOf(from, 'from')
    check.requireRange(this, offset, bytes.length)
    this.#requireWritable(this.#ops.writeVmState !== undefined)
    await this.counted(0, 0, () => this.#requests.writeVmState(offset, bytes))
  }

  observe(observer: ChangeObserver): () => void {
    check.requireObserver(observer)
    return this.#requests.observe(observer)
  }

  // ---- whole-node operations ----

  async check(options: NodeCheckOptions = {}, control: JobControl = UNCONTROLLED): Promise<CheckReport> {
    const wanted = check.checkOptions(options)
    check.requireControl(control, 'control')
    const ops = this.#ops
    if (!ops.check) throw unsupportedError(this, 'checks')
    const run = () => ops.check!(wanted, control)
    if (!wanted.repair) return this.drained(run)
    this.#requireWritable(true)
    return this.drained(() => this.#requests.restructure('repair', run))
  }

  info(): Promise<NodeInfo> {
    return this.#plain('info', (ops) => (ops.info ? ops.info() : Promise.resolve({})))
  }

  listSnapshots(): Promise<readonly SnapshotInfo[]> {
    return this.#plain('listSnapshots', (ops) => ops.listSnapshots?.() ?? Promise.resolve([]))
  }

  makeEmpty(): Promise<void> {
    return this.exclusive('makeEmpty', 'makeEmpty', (ops) => ops.makeEmpty!())
  }

  async changeBackingFile(filename: string | null, format: string | undefined): Promise<void> {
    check.requireBackingChange(filename, format)
    // Only the name changes: what shows through is that of the file that is open.
    await this.exclusive('changeBackingFile', undefined, (ops) => ops.changeBackingFile!(filename, format))
  }

  async amend(...[options, control = UNCONTROLLED]: Parameters<BlockNode['amend']>): Promise<void> {
    check.requireAmendment(options, control)
    const before = this.size
    await this.exclusive('amend', 'amend', (ops) => ops.amend!(options, control))
    if (this.size !== before) this.emit('resize', this.size)
  }

  async compact(options: PieceOptions = {}): Promise<CompactReport> {
    check.requirePieces(options)
    const alone: RunAlone = (piece) => this.exclusive('compact', undefined, piece)
    await alone(() => Promise.resolve())
    return this.#ops.compact!(options, alone)
  }

  debugEvent(event: DebugEvent): void | Promise<void> {
    return this.#ops.debugEvent?.(event)
  }

  // ---- life cycle ----

  drain(): Promise<void> {
    return this.#gate.drain()
  }

  async drained<T>(body: () => Promise<T>): Promise<T> {
    check.requireBody(body)
    return this.#gate.drained(async () => {
      if (!this.isOpen) throw this.#closedError()
      return body()
    })
  }

  async withoutWrites<T>(body: () => Promise<T>): Promise<T> {
    check.requireBody(body)
    return this.#gate.withoutWrites(body)
  }

  async close(): Promise<void> {
    if (!this.#closing) {
      if (this.#state === 'crashed') return
      if (this.parents.size > 0) throw busyError(this)
      this.#closing = this.#shutDown()
    }
    this.setPatience('limited')
    await this.#closing
  }

  async #shutDown(): Promise<void> {
    // The last check and the change of state are one step: no request begins between them.
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

  async releasedBy(edge: Edge, crashed = false): Promise<void> {
    this.parents.delete(edge)
    if (!this.isUnused) return updatePermissions([this])
    await (crashed ? this.crash() : this.close())
  }
  refresh(): void {
    this.#requests.refresh()
    for (const { owner } of this.parents) owner?.refresh()
  }
  reconfigure(config: CoreConfig): void {
    this.#config = config
    this.refresh()
  }
  markCorrupt(event: CorruptEvent): void {
    if (event.fatal && this.#state === 'open') this.#state = 'corrupt'
    this.emit('corrupt', event)
  }

  /** {@link RequestOwner} */
  requireAlive(): void {
    if (this.#hasCrashed) throw this.#closedError()
  }

  async exclusive<T>(
    name: keyof NodeOps,
    kind: ChangeKind | undefined,
    run: (ops: NodeOps) => Promise<T>,
  ): Promise<T> {
    this.#requireWritable(true)
    if (!this.#ops[name]) throw unsupportedError(this, name)
    return this.drained(() => this.#requests.restructure(kind, () => run(this.#ops)))
  }

  // ---- inside ----

  /** A crash may happen during any await. */
  get #hasCrashed(): boolean {
    return this.#crashing !== undefined
  }

  #begin(offset: number, bytes: number, code?: BlockErrorCode): void {
    if (this.#state !== 'open') throw this.#closedError()
    if (
      offset + bytes > this.#ops.size() &&
      (!this.#ops.growable || offset + bytes > Number.MAX_SAFE_INTEGER)
    )
      throw outsideError(this, offset, bytes, code)
    this.#gate.begin()
  }

  #beginWrite(offset: number, bytes: number, canWrite: boolean): void {
    if (this.#state !== 'open') throw this.#closedError()
    this.#requireWritable(canWrite)
    // A format that reaches the end of its device is out of space.
    this.#begin(offset, bytes, this.parents.size > 0 ? 'ENOSPC' : 'EIO')
  }

  /** Runs a request that changes something. */
  async #change(
    operation: IoErrorEvent['operation'],
    offset: number,
    bytes: number,
    run: () => Promise<void>,
  ): Promise<void> {
    check.requireRange(this, offset, bytes)
    const failed = (error: unknown): never => {
      throw isBlockError(error, 'ENOTSUP') ? error : this.#failed(operation, offset, error)
    }
    await this.#counted(true, offset, bytes, () => run().catch(failed))
  }

  counted<T>(offset: number, bytes: number, body: () => Promise<T>): Promise<T> {
    return this.#counted(false, offset, bytes, body)
  }

  /** Runs any request, in flight. `read`, `write` and `blockStatus` have this inline: it costs them less time. */
  async #counted<T>(changes: boolean, offset: number, bytes: number, run: () => Promise<T>): Promise<T> {
    while (changes ? this.#gate.writes : this.#gate.all) await (changes ? this.#gate.writes : this.#gate.all)
    if (changes) this.#beginWrite(offset, bytes, this.#requests.canWrite)
    else this.#begin(offset, bytes)
    try {
      if (loopBudget.spend(0)) {
        await this.#turn()
        this.requireAlive()
      }
      return await run()
    } finally {
      this.#end()
    }
  }

  /**
   * Waits for the event loop to turn, if it must. No async function: with thousands of requests waiting, collecting
   * their garbage would stop the loop.
   */
  #turn(): Promise<void> {
    return loopBudget.wait(this.parents.size > 0 ? undefined : this)
  }

  #requireWritable(canWrite: boolean): void {
    if (this.#config.readOnly || !canWrite) throw readOnlyError(this)
  }

  /** Ends a request. Throwing here, in `finally`, turns a success after a crash into a failure. */
  #end(): void {
    this.#gate.end()
    if (this.#state === 'crashed') throw this.#closedError()
  }

  #plain<T>(name: keyof NodeOps, run: (ops: NodeOps) => Promise<T> | undefined): Promise<T> {
    return this.counted(0, 0, async () => {
      const result = run(this.#ops)
      if (!result) throw unsupportedError(this, name)
      return result
    })
  }

  #failed(operation: IoErrorEvent['operation'], offset: number, error: unknown): unknown {
    if (this.#state === 'crashed') return this.#closedError()
    markFailure(error)
    if (this.hears('io-error')) this.emit('io-error', { operation, offset, error })
    return error
  }

  #closedError(): BlockError {
    return closedError(this, this.#state === 'crashed')
  }
}
