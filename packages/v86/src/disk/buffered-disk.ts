/**
 * A block node behind a cache that answers at once, a bounded queue of writes, a flush on a timer, and a
 * policy for failures: the common part of all disks for emulators. Offsets and lengths in bytes, of any
 * alignment.
 */
import { BlockError, type BlockNode, type Bytes } from '@vmblock/block-core'
import {
  bytesOf,
  bytesToFill,
  Emitter,
  goneBuffer,
  INSPECT,
  isCount,
  nodeTitle,
  requireCount,
  requireNode,
  setPatience,
  wrongValue,
} from '@vmblock/block-core/driver'
import { Barrier } from './barrier.ts'
import { BlockReader } from './block-reader.ts'
import type { DiskEvents, DiskOperation, DiskStatistics } from './disk-events.ts'
import {
  type DiskOptions,
  type DiskSettings,
  type Durability,
  diskSettings,
  requireDurability,
} from './disk-options.ts'
import { Hold } from './hold.ts'
import {
  DISCARD_COST,
  type QueuedRequest,
  type QueueTarget,
  type Verdict,
  WriteQueue,
} from './write-queue.ts'

/** Contiguous writes are joined into one request of up to this many bytes. */
const LONGEST_WRITE = 2 ** 20

type State = 'open' | 'closing' | 'closed' | 'crashed'

/** A disk with cache and write queue: see the head of this file. Offsets and lengths are bytes. */
export class BufferedDisk extends Emitter<DiskEvents> {
  readonly node: BlockNode
  /** Bytes. */
  readonly size: number
  readonly #settings: DiskSettings
  readonly #reader: BlockReader
  readonly #queue: WriteQueue
  readonly #barrier: Barrier
  readonly #hold: Hold
  #durability: Durability
  #state: State = 'open'
  #closing: Promise<void> | undefined
  #wasFull = false
  #readsInFlight = 0
  #idle: (() => void)[] = []
  readonly #counts = { reads: 0, writes: 0, discards: 0, flushes: 0, bytesWritten: 0 }
  readonly #image = { reads: 0, writes: 0, flushes: 0 }

  /** @throws BlockError EINVAL for invalid options */
  constructor(node: BlockNode, options: DiskOptions = {}) {
    requireNode(node, 'node')
    super()
    this.node = node
    this.size = node.size
    this.#settings = diskSettings(options)
    this.#durability = this.#settings.durability
    const { flushInterval, clock, writeBuffer } = this.#settings
    this.#hold = new Hold(this.#settings)
    this.#barrier = new Barrier(flushInterval, clock, () => this.#timedBarrier())
    this.#queue = new WriteQueue(this.#queueTarget(), writeBuffer, LONGEST_WRITE)
    this.#reader = new BlockReader(
      {
        size: this.size,
        read: (offset, into) => this.#readImage(offset, into),
        behind: (offset, bytes) => this.#queue.behind(offset, bytes),
      },
      this.#settings,
    )
  }

  // ---- facts ----

  get readOnly(): boolean {
    return this.node.readOnly
  }
  get isOpen(): boolean {
    return this.#state === 'open' || this.#state === 'closing'
  }
  /** Whether there are writes that are not durable. */
  get isDirty(): boolean {
    return this.#barrier.isDirty
  }
  /** Whether requests are held until {@link resume}. */
  get isStopped(): boolean {
    return this.#hold.isHeld
  }
  /** Counts requests that changed the disk since it was opened. */
  get generation(): number {
    return this.#barrier.taken
  }
  get durability(): Durability {
    return this.#durability
  }
  /** Applies to later writes. Earlier ones stay in flight; flush to make them durable. */
  set durability(durability: Durability) {
    requireDurability(durability, 'durability')
    this.#durability = durability
  }

  /** Counts since the disk was opened. */
  get statistics(): DiskStatistics {
    return {
      ...this.#counts,
      readsFromMemory: this.#reader.hits,
      imageReads: this.#image.reads,
      imageWrites: this.#image.writes,
      imageFlushes: this.#image.flushes,
      bytesCached: this.#reader.cachedBytes,
      bytesPending: this.#queue.bytes,
      dirty: this.isDirty,
    }
  }

  // ---- requests ----

  /** Fills `into` if it need not wait. @returns whether it did @throws BlockError EIO outside the disk */
  tryRead(offset: number, into: Bytes): boolean {
    const bytes = bytesToFill(into)
    this.#check(offset, bytes.length)
    if (!this.isOpen || bytes.length === 0) return this.isOpen
    if (!this.#reader.readSync(offset, bytes)) return false
    this.#counts.reads++
    return true
  }

  /** Fills `into`, after all earlier writes to that range. @throws BlockError as the image fails */
  async readAt(offset: number, into: Bytes): Promise<void> {
    const bytes = bytesToFill(into)
    const { length } = bytes
    this.#check(offset, length)
    this.#requireOpen()
    if (length === 0) return
    this.#counts.reads++
    this.#readsInFlight++
    try {
      await this.#readPatiently(offset, bytes)
    } finally {
      this.#endRead()
    }
    if (bytes.length !== length) throw goneBuffer('into')
  }

  /**
   * Takes a copy of `from` if there is room and the write need not be durable at once. @returns whether it
   * did @throws BlockError EIO outside the disk
   */
  tryWrite(offset: number, from: Bytes): boolean {
    const bytes = bytesOf(from, 'from')
    this.#check(offset, bytes.length)
    if (this.#durability === 'write-through' || !this.#queue.hasRoomFor(bytes.length)) return false
    if (this.#state !== 'open' || this.readOnly || this.#refuses) return false
    if (bytes.length > 0) void this.#take(offset, bytes)
    return true
  }

  /**
   * Takes a copy of `from` before it returns. Resolves once there is room for more (`write-back`), or once
   * the write is durable (`write-through`).
   *
   * @throws BlockError EPERM on a read-only disk, and as the image fails
   */
  async writeAt(offset: number, from: Bytes): Promise<void> {
    const bytes = bytesOf(from, 'from')
    this.#check(offset, bytes.length)
    this.#requireWritable('write', offset, bytes.length)
    if (bytes.length === 0) return
    const fits = this.#queue.hasRoomFor(bytes.length)
    if (!fits && this.#refuses) throw this.#queue.failure
    const done = this.#take(offset, bytes)
    await (done ?? (fits ? undefined : this.#queue.room()))
  }

  /** Discards the content of a range, in order with the writes. @throws BlockError as the image fails */
  async discardAt(offset: number, bytes: number): Promise<void> {
    this.#check(offset, bytes)
    this.#requireWritable('discard', offset, bytes)
    if (bytes === 0) return
    if (this.#refuses && !this.#queue.hasRoomFor(DISCARD_COST)) throw this.#queue.failure
    this.#counts.discards++
    this.#reader.forget(offset, bytes)
    const done = this.#queue.discard(offset, bytes, this.#durability === 'write-through')
    this.#took()
    await (done ?? this.#queue.room())
  }

  /**
   * Makes everything written before the call durable. A stopped disk is resumed first.
   *
   * @throws the image's error; nothing is lost, and a later flush tries again
   */
  async flush(): Promise<void> {
    this.#requireOpen()
    this.#counts.flushes++
    this.resume()
    await this.#flushNow()
  }

  /**
   * The flush of a guest: if the policy is to hold requests, it waits for {@link resume} instead of failing.
   *
   * @throws the image's error, if the policy is to report it
   */
  async guestFlush(): Promise<void> {
    this.#requireOpen()
    this.#counts.flushes++
    for (;;) {
      await this.#hold.released()
      if (this.#queue.isStopped) this.#queue.resume()
      try {
        return await this.#flushNow()
      } catch (error) {
        if (!this.#hold.isHeld) throw error
      }
    }
  }

  /** Continues held requests, beginning with the one that failed. */
  resume(): void {
    const wasHeld = this.#hold.end()
    if (this.#queue.isStopped) this.#queue.resume()
    if (!wasHeld) return
    this.emit('resume')
    this.#startTimer()
  }

  // ---- the ends ----

  /** Resolves when all reads have been answered and all writes have reached the image, durable or not. */
  async drain(): Promise<void> {
    while (!this.#queue.isEmpty || this.#readsInFlight > 0) {
      await this.#queue.drain()
      if (this.#readsInFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
    }
  }

  /**
   * Makes everything durable and releases the node, or closes it if the disk owns it. A second call waits for
   * the first.
   *
   * @throws the error of writing; then the disk stays open, to be closed again or ended by {@link crash}. An
   * error of closing its own node is thrown by every later call, too
   */
  async close(): Promise<void> {
    if (this.#state === 'closed' && this.#settings.ownsNode) return this.node.close()
    if (!this.isOpen) return
    this.#closing ??= this.#shutDown().finally(() => (this.#closing = undefined))
    await this.#closing
  }

  async #shutDown(): Promise<void> {
    this.#state = 'closing'
    const { ownsNode } = this.#settings
    try {
      // The guest's requests may finish, but only within the limit.
      if (ownsNode) setPatience(this.node, 'limited')
      this.resume()
      await this.drain()
      if (!this.readOnly) await this.#flushNow()
    } catch (error) {
      if (this.#state === 'closing') {
        this.#state = 'open'
        if (ownsNode) setPatience(this.node, 'usual')
      }
      throw error
    }
    this.#end('closed', new BlockError('ENOMEDIUM', 'the disk is closed'))
    if (!ownsNode) return
    // Only read-ahead is still in flight.
    setPatience(this.node, 'none')
    await this.node.close()
  }

  /** Drops everything not in the image yet, as the end of the process would. Its own node crashes too. */
  async crash(): Promise<void> {
    if (!this.isOpen) return
    this.#end('crashed', new BlockError('ECANCELED', 'the disk crashed'))
    if (this.#settings.ownsNode) await this.node.crash()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** For `JSON.stringify`: the disk's properties, without its internals. */
  toJSON(): object {
    const { size, readOnly, durability, isDirty, node } = this
    return { size, readOnly, state: this.#state, durability, isDirty, node }
  }
  override toString(): string {
    return `disk of ${nodeTitle(this.node)}`
  }
  [INSPECT](): string {
    const facts = [`${this.size} bytes`, this.#state, this.durability]
    if (this.readOnly) facts.push('read-only')
    if (this.isDirty) facts.push('not all of it durable')
    if (this.isStopped) facts.push('stopped')
    return `${this.constructor.name} of ${nodeTitle(this.node)} (${this.node.driver.name})\n  ${facts.join(', ')}`
  }

  #end(state: 'closed' | 'crashed', error: BlockError): void {
    this.#state = state
    this.#barrier.stop()
    this.#queue.kill(error)
    this.#reader.clear()
    this.#hold.fail(error)
    this.emit('close')
  }

  // ---- inside ----

  /** Accepts a write; the caller checked for room, or waits. @returns resolves when durable, if need be */
  #take(offset: number, from: Uint8Array): Promise<void> | undefined {
    const copy = from.slice()
    this.#counts.writes++
    this.#counts.bytesWritten += from.length
    this.#reader.wrote(offset, copy)
    const done = this.#queue.write(offset, copy, this.#durability === 'write-through')
    this.#took()
    return done
  }

  #took(): void {
    if (this.#barrier.took()) this.emit('dirty', true)
    this.#startTimer()
    if (!this.#queue.isFull || this.#wasFull) return
    this.#wasFull = true
    this.emit('full')
  }

  #startTimer(): void {
    if (this.#durability === 'write-back' && this.#state === 'open' && !this.#hold.isHeld)
      this.#barrier.start()
  }

  /** Whether new writes are refused: after a reported failure they would only pile up. */
  get #refuses(): boolean {
    return this.#queue.isStopped && !this.#hold.isHeld
  }

  #queueTarget(): QueueTarget {
    return {
      write: async (offset, from, durable) => {
        this.#image.writes++
        await this.node.write(offset, from, durable ? { fua: true } : {})
      },
      discard: async (offset, bytes, durable) => {
        await this.node.discard(offset, bytes)
        if (durable) await this.node.flush()
      },
      applied: (request) => this.#applied(request),
      failed: (request, error) => this.#failedWrite(request, error),
    }
  }

  #applied({ kind, offset, bytes, durable }: QueuedRequest): void {
    this.#progress(kind, offset, bytes)
    // It was the last request, and the flush that made it durable covered the whole image.
    if (durable && this.#queue.isEmpty) this.#covered(this.#barrier.taken)
    if (!this.#wasFull || this.#queue.isFull) return
    this.#wasFull = false
    this.emit('room')
  }

  #failedWrite({ kind, offset, bytes, durable }: QueuedRequest, error: unknown): Verdict {
    const holds = this.#fail(kind, offset, bytes, error, !durable)
    if (holds) return 'hold'
    // A write without a waiting caller was acknowledged long ago: it must not be lost.
    if (!durable) return 'keep'
    this.#reader.forget(offset, bytes)
    return 'drop'
  }

  async #readImage(offset: number, into: Uint8Array): Promise<void> {
    this.#image.reads++
    await this.node.read(offset, into)
    this.#progress('read', offset, into.length)
  }

  #progress(operation: 'read' | 'write' | 'discard', offset: number, bytes: number): void {
    if (this.hears('progress')) this.emit('progress', { operation, offset, bytes })
  }

  #endRead(): void {
    this.#readsInFlight--
    if (this.#readsInFlight > 0) return
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }

  /** Flushes the image after all accepted writes. */
  async #flushNow(): Promise<void> {
    const covers = this.#barrier.taken
    await this.#queue.drain()
    this.#image.flushes++
    try {
      await this.node.flush()
    } catch (error) {
      this.#fail('flush', 0, 0, error, true)
      throw error
    }
    this.#covered(covers)
  }

  async #timedBarrier(): Promise<void> {
    if (this.#queue.isStopped) this.#queue.resume()
    await this.#flushNow()
  }

  #covered(count: number): void {
    if (!this.#barrier.covered(count)) return
    this.emit('dirty', false)
    this.emit('flushed')
  }

  /** Reports a failure, and holds requests if that is the policy. @returns whether they are held */
  #fail(operation: DiskOperation, offset: number, bytes: number, error: unknown, kept: boolean): boolean {
    if (!this.isOpen) return false
    // A closing disk does not wait for a medium that may never come back.
    const isLast = operation === 'read' && this.#state === 'closing'
    const holds = !isLast && this.#hold.applies(operation, error)
    this.emit('error', { operation, offset, bytes, error, willRetry: holds || kept })
    if (holds && this.#hold.begin(error)) {
      this.#barrier.stop()
      this.emit('stop', error)
    }
    return holds
  }

  /** Repeats a read until it succeeds, or its failure is to be reported. */
  async #readPatiently(offset: number, into: Uint8Array): Promise<void> {
    for (;;) {
      try {
        return await this.#reader.read(offset, into)
      } catch (error) {
        if (!this.#fail('read', offset, into.length, error, false)) throw error
        await this.#hold.released()
      }
    }
  }

  // ---- checks ----

  #check(offset: number, bytes: number): void {
    if (isCount(offset) && isCount(bytes) && offset + bytes <= this.size) return
    if (typeof offset !== 'number') throw wrongValue('offset', 'a whole number of bytes from 0', offset)
    requireCount(bytes, 'bytes')
    throw new BlockError('EIO', `the request [${offset}, +${bytes}) is not on the disk of ${this.size} bytes`)
  }

  #requireOpen(): void {
    if (this.isOpen) return
    throw this.#state === 'crashed'
      ? new BlockError('ECANCELED', 'the disk crashed')
      : new BlockError('ENOMEDIUM', 'the disk is closed')
  }

  #requireWritable(operation: DiskOperation, offset: number, bytes: number): void {
    this.#requireOpen()
    if (this.#state === 'closing') throw new BlockError('ENOMEDIUM', 'the disk is being closed')
    if (!this.readOnly) return
    const error = new BlockError('EPERM', 'the disk is read-only')
    this.emit('error', { operation, offset, bytes, error, willRetry: false })
    throw error
  }
}
