/**
 * The handle through which an application uses the graph. It holds the root node as long as it is
 * open, and is what stays when nodes are inserted, removed or replaced under running requests.
 *
 * Requests go straight to the root, unless something holds them back: a change of the graph, a reopen of the root, or
 * an error policy that has stopped the handle. Then they wait here, not at the root, which may be another one afterwards.
 */
import { type Bytes, isCount, wrongValue } from '../base/arguments.ts'
import { Emitter } from '../base/emitter.ts'
import { loadOnce } from '../base/load-once.ts'
import type { ChangeObserver } from '../contract/changes.ts'
import type { DriverFacts } from '../contract/driver-facts.ts'
import type { AmendControl, JobControl, PieceOptions } from '../contract/job-control.ts'
import type { BlockEdge, BlockNode, BlockStatus, NodeOperation } from '../contract/node.ts'
import type { NodeConfig } from '../contract/node-config.ts'
import type { IoErrorEvent, NodeEvents } from '../contract/node-events.ts'
import { ALL_PERMISSIONS, PERMISSION } from '../contract/permissions.ts'
import type {
  CheckReport,
  CompactReport,
  NodeCheckOptions,
  NodeFacts,
  NodeInfo,
  SnapshotInfo,
} from '../contract/reports.ts'
import type { BlockLimits, TruncateOptions, WriteFlags } from '../contract/requests.ts'
import { registerNode } from '../graph/known-nodes.ts'
import type { LinkedNode, NodeUser } from '../graph/links.ts'
import { closedError, isFailure, readOnlyError } from '../graph/node-errors.ts'
import { INSPECT, nodeText } from '../graph/node-text.ts'
import { updatePermissions } from '../graph/permissions.ts'
import type { Disk } from './disk.ts'
import type { ErrorPolicy, TakenAction } from './error-policy.ts'
import type { LatencyBoundaries, RequestWatch } from './request-watch.ts'
import { counters, type DiskStatistics, REQUEST_KINDS, type RequestKind } from './statistics.ts'

/** @throws BlockError EIO if the code cannot be loaded */
const loadWatch = loadOnce('error policies and latencies', () => import('./request-watch.ts'))

/** Until another policy is set. */
const REPORT_ALL: ErrorPolicy = { read: 'report', write: 'report' }

/** Events of the root that a handle passes on. `io-error` is not among them: the handle tells of its own requests. */
const PASSED_ON = ['resize', 'corrupt', 'repair', 'warn', 'close'] as const satisfies (keyof NodeEvents)[]

/** Turns of the microtask queue that a result takes at most from the root to the caller of the handle. */
const STEPS = 8

/** See {@link Disk}, and the head of this file. */
export class DiskHandle extends Emitter<NodeEvents> implements Disk {
  #root: LinkedNode
  #isClosed = false
  readonly #counts = counters()
  #watch: RequestWatch | undefined
  /** Changes of the graph that hold requests back, and what those requests wait for. */
  #holds = 0
  #held: { readonly over: Promise<void>; readonly end: () => void } | undefined
  /** An error policy has stopped the handle: another hold, which {@link resume} ends. */
  #stop: (() => void) | undefined
  /** End what this handle hears of the root. */
  #ends: readonly (() => void)[] = []
  readonly #user: NodeUser
  writeCache: boolean
  /** What listens to changes of the root, whatever node that is, with the end of each observation. */
  readonly #observations = new Set<{ readonly observer: ChangeObserver; end: () => void }>()

  constructor(root: LinkedNode, writeCache = true) {
    super()
    this.#root = root
    this.writeCache = writeCache
    registerNode(this, () => this.#root)
    // It shares everything, as the users of QEMU's programs do.
    this.#user = {
      handle: this,
      taken: PERMISSION.consistentRead | PERMISSION.write,
      shared: ALL_PERMISSIONS,
      node: root,
      hold: () => this.#hold(),
      replace: (node) => {
        this.#leave()
        this.#enter(node)
      },
    }
    this.#enter(root)
    this.once('close', () => this.#release())
  }

  // ---- the handle's own ----

  get root(): BlockNode {
    return this.#root
  }

  get statistics(): DiskStatistics {
    const of = (kind: RequestKind) => {
      const latency = this.#watch?.histogram(kind)
      return { ...this.#counts[kind], ...(latency && { latency }) }
    }
    return { read: of('read'), write: of('write'), discard: of('discard'), flush: of('flush') }
  }

  async measureLatency(boundaries: LatencyBoundaries): Promise<void> {
    ;(await this.#watched()).measure(boundaries)
  }

  get errorPolicy(): ErrorPolicy {
    return this.#watch?.policy ?? REPORT_ALL
  }

  async setErrorPolicy(policy: Partial<ErrorPolicy>): Promise<void> {
    ;(await this.#watched()).setPolicy(policy)
  }

  get isStopped(): boolean {
    return this.#stop !== undefined
  }

  resume(): void {
    if (this.#release()) this.emit('resume')
  }

  async #watched(): Promise<RequestWatch> {
    const { RequestWatch } = await loadWatch()
    this.#watch ??= new RequestWatch(REQUEST_KINDS, REPORT_ALL, wrongValue)
    return this.#watch
  }

  // ---- facts of the root ----

  get name(): string {
    return this.#root.name
  }
  get driver(): DriverFacts {
    return this.#root.driver
  }
  get filename(): string {
    return this.#root.filename
  }
  get children(): BlockNode['children'] {
    return this.#root.children
  }
  get file(): BlockEdge | undefined {
    return this.#root.file
  }
  get backing(): BlockEdge | undefined {
    return this.#root.backing
  }
  get hasParents(): boolean {
    return this.#root.hasParents
  }
  get size(): number {
    return this.#root.size
  }
  get limits(): BlockLimits {
    return this.#root.limits
  }
  get config(): NodeConfig {
    return this.#root.config
  }
  get readOnly(): boolean {
    return this.#root.readOnly || !this.#mayWrite
  }
  get growable(): boolean {
    return this.#root.growable
  }
  get isOpen(): boolean {
    return !this.#isClosed && this.#root.isOpen
  }
  can(operation: NodeOperation): boolean {
    return this.#root.can(operation)
  }

  // ---- requests ----

  read(offset: number, into: Bytes): Promise<void> {
    const root = this.#root
    if (this.#held || this.#watch || this.#isClosed || root.held || !(into instanceof Uint8Array))
      return this.#request('read', offset, lengthOf(into), (node) => node.read(offset, into))
    const { read } = this.#counts
    read.requests++
    read.bytes += into.length
    return root.read(offset, into).then(undefined, (error) => this.#fail('read', offset, error))
  }

  write(offset: number, from: Bytes, flags?: WriteFlags): Promise<void> {
    const root = this.#root
    if (this.#held || this.#watch || !this.#mayWrite || root.heldWrites || !(from instanceof Uint8Array))
      return this.#request('write', offset, lengthOf(from), (node) =>
        node.write(offset, from, this.#flags(flags)),
      )
    const { write } = this.#counts
    write.requests++
    write.bytes += from.length
    return root
      .write(offset, from, this.#flags(flags))
      .then(undefined, (error) => this.#fail('write', offset, error))
  }

  writeCompressed(offset: number, from: Bytes): Promise<void> {
    return this.#request('write', offset, lengthOf(from), (node) =>
      this.#durable(node, node.writeCompressed(offset, from)),
    )
  }
  writeZeroes(offset: number, bytes: number, flags?: WriteFlags): Promise<void> {
    return this.#request('write', offset, bytes, (node) =>
      node.writeZeroes(offset, bytes, this.#flags(flags)),
    )
  }
  discard(offset: number, bytes: number): Promise<void> {
    return this.#request('discard', offset, bytes, (node) => node.discard(offset, bytes))
  }
  copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void> {
    return this.#request('write', offset, bytes, (node) =>
      this.#durable(node, node.copyRange(offset, bytes, source, sourceOffset)),
    )
  }
  flush(): Promise<void> {
    return this.#request('flush', 0, 0, (node) => node.flush())
  }
  truncate(size: number, options?: TruncateOptions): Promise<void> {
    return this.#onRoot((node) => this.#durable(node, node.truncate(size, options)), true)
  }
  blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    return this.#onRoot((node) => node.blockStatus(offset, bytes))
  }
  readVmState(offset: number, into: Bytes): Promise<void> {
    return this.#onRoot((node) => node.readVmState(offset, into))
  }
  writeVmState(offset: number, from: Bytes): Promise<void> {
    return this.#onRoot((node) => this.#durable(node, node.writeVmState(offset, from)), true)
  }
  observe(observer: ChangeObserver): () => void {
    const observation = { observer, end: this.#root.observe(observer) }
    this.#observations.add(observation)
    return () => {
      this.#observations.delete(observation)
      observation.end()
    }
  }

  // ---- whole-node operations ----

  check(options?: NodeCheckOptions, control?: JobControl): Promise<CheckReport> {
    return this.#onRoot((node) => node.check(options, control), Boolean(options?.repair), false)
  }
  info(): Promise<NodeInfo> {
    return this.#onRoot((node) => node.info())
  }
  listSnapshots(): Promise<readonly SnapshotInfo[]> {
    return this.#onRoot((node) => node.listSnapshots())
  }
  makeEmpty(): Promise<void> {
    return this.#onRoot((node) => node.makeEmpty(), true, false)
  }
  changeBackingFile(filename: string | null, format: string | undefined): Promise<void> {
    return this.#onRoot((node) => node.changeBackingFile(filename, format), true, false)
  }
  amend(options: Readonly<Record<string, unknown>>, control?: AmendControl): Promise<void> {
    return this.#onRoot((node) => node.amend(options, control), true, false)
  }
  compact(options?: PieceOptions): Promise<CompactReport> {
    return this.#onRoot((node) => node.compact(options), true, false)
  }

  // ---- life cycle ----

  async drain(): Promise<void> {
    await this.#root.drain()
    // The root is done before its results have passed through the promises of this handle.
    for (let step = 0; step < STEPS; step++) await undefined
  }
  drained<T>(body: () => Promise<T>): Promise<T> {
    return this.#onRoot((node) => node.drained(body))
  }
  withoutWrites<T>(body: () => Promise<T>): Promise<T> {
    return this.#onRoot((node) => node.withoutWrites(body))
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    const root = this.#root
    if (root.users.size === 1) {
      await root.close()
      return
    }
    await root.drain()
    this.#isClosed = true
    this.#user.taken = 0
    this.#leave()
    updatePermissions([root])
    this.emit('close')
    this.#release()
  }

  crash(): Promise<void> {
    return this.#root.crash()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  override toString(): string {
    return this.#root.toString()
  }
  toJSON(): NodeFacts {
    return this.#root.toJSON()
  }
  [INSPECT](): string {
    return nodeText(this, this.toJSON().state)
  }

  // ---- inside ----

  #enter(root: LinkedNode): void {
    this.#root = root
    this.#user.node = root
    root.users.add(this.#user)
    this.#ends = PASSED_ON.map((event) =>
      root.on(event, (...facts: readonly unknown[]) => this.emit(event, ...(facts as [never]))),
    )
    for (const observation of this.#observations) observation.end = root.observe(observation.observer)
  }

  #leave(): void {
    this.#root.users.delete(this.#user)
    for (const end of this.#ends) end()
    for (const { end } of this.#observations) end()
  }

  #hold(): () => void {
    if (this.#holds++ === 0) {
      let end!: () => void
      this.#held = { over: new Promise((resolve) => (end = resolve)), end }
    }
    return () => {
      if (--this.#holds > 0) return
      const held = this.#held
      this.#held = undefined
      held?.end()
    }
  }

  get #mayWrite(): boolean {
    return (this.#user.taken & PERMISSION.write) !== 0
  }

  #flags(flags?: WriteFlags): WriteFlags | undefined {
    return this.writeCache ? flags : { ...flags, fua: true }
  }

  /** For changes that take no flags. */
  #durable(root: LinkedNode, change: Promise<void>): Promise<void> {
    return this.writeCache ? change : change.then(() => root.flush())
  }

  /**
   * Waits until a request may begin at the root. Its caller must begin it in the same step.
   *
   * @param asWrite it waits as a write waits, not only for the end of a change of the graph or of the whole node
   */
  async #ready(changes: boolean, asWrite = changes): Promise<void> {
    const waiting = (): Promise<void> | undefined =>
      this.#held?.over ?? (asWrite ? this.#root.heldWrites : this.#root.held)
    for (let over = waiting(); over; over = waiting()) await over
    if (this.#isClosed) throw closedError(this, false)
    // A root that is closed, or has crashed, says so itself.
    if (changes && this.#root.isOpen && !this.#mayWrite) throw readOnlyError(this)
  }

  /** Runs what is not counted as a request. */
  async #onRoot<T>(run: (root: LinkedNode) => Promise<T>, changes = false, asWrite = changes): Promise<T> {
    await this.#ready(changes, asWrite)
    return run(this.#root)
  }

  async #request(
    kind: RequestKind,
    offset: number,
    bytes: number,
    run: (root: LinkedNode) => Promise<void>,
  ): Promise<void> {
    const changes = kind === 'write' || kind === 'discard'
    await this.#ready(changes)
    this.#counts[kind].requests++
    if (isCount(bytes)) this.#counts[kind].bytes += bytes
    const watch = this.#watch
    if (!watch) return run(this.#root).catch((error) => this.#fail(kind, offset, error))
    await watch.run(kind, {
      run: () => run(this.#root),
      failed: (error, action) => this.#failed(kind, offset, error, action),
      stop: (error) => this.#stopFor({ operation: kind, offset, error, action: 'stop' }),
      ready: () => this.#ready(changes),
    })
  }

  #fail(kind: RequestKind, offset: number, error: unknown): never {
    this.#failed(kind, offset, error, 'report')
    throw error
  }

  /** @returns whether the node failed; otherwise the request itself was wrong, or the disk is closed */
  #failed(operation: RequestKind, offset: number, error: unknown, action: TakenAction): boolean {
    if (!isFailure(error)) return false
    this.#counts[operation].failed++
    if (this.hears('io-error')) this.emit('io-error', { operation, offset, error, action })
    return true
  }

  #stopFor(event: IoErrorEvent): void {
    if (this.#stop) return
    this.#stop = this.#hold()
    this.emit('stop', event)
  }

  /** Lets the requests go on that an error policy has stopped: to be tried again, or to fail at a closed root. */
  #release(): boolean {
    const release = this.#stop
    this.#stop = undefined
    release?.()
    return release !== undefined
  }
}

/** Bytes of a buffer that the node has not checked yet. */
const lengthOf = (bytes: Bytes): number => (bytes as Bytes | undefined)?.byteLength ?? 0
