/**
 * The queue of writes to the image: accepted at once, sent one after the other in the order of arrival,
 * contiguous ones joined. A write that fails keeps its position, so that its retry cannot overtake newer
 * writes.
 */

/** A queued request: bytes to write, or a range to discard. */
export interface QueuedRequest {
  readonly kind: 'write' | 'discard'
  readonly offset: number
  readonly bytes: number
  /** Whether the caller waits until the request is durable, and gets its error. */
  readonly durable: boolean
}

/**
 * What to do with a failed request. `hold`: the queue stops, and retries after {@link WriteQueue.resume};
 * waiting callers keep waiting. `keep`: the same, but calls that wait for room resolve, since their writes
 * have been accepted. `drop`: the request's callers get the error.
 */
export type Verdict = 'hold' | 'keep' | 'drop'

/** Carries out requests, and decides what to do with those that fail. */
export interface QueueTarget {
  write(offset: number, from: Uint8Array, durable: boolean): Promise<void>
  discard(offset: number, bytes: number, durable: boolean): Promise<void>
  /** Called when a request has succeeded. */
  applied(request: QueuedRequest): void
  failed(request: QueuedRequest, error: unknown): Verdict
}

/** The cost of a queued discard, in bytes of memory. */
export const DISCARD_COST = 512

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

/** One queued request; it grows while it waits. */
class Entry implements QueuedRequest {
  readonly kind: QueuedRequest['kind']
  readonly offset: number
  readonly durable: boolean
  bytes: number
  chunks: Uint8Array[]
  issued = false
  /** Callers that wait until it is durable. */
  readonly owners: Waiter[] = []
  /** Callers that wait for its end, successful or not. */
  readonly followers: (() => void)[] = []

  constructor({ kind, offset, bytes, durable }: QueuedRequest, chunks: Uint8Array[]) {
    this.kind = kind
    this.offset = offset
    this.bytes = bytes
    this.durable = durable
    this.chunks = chunks
  }

  get end(): number {
    return this.offset + this.bytes
  }
  /** Bytes of memory that it counts as. */
  get cost(): number {
    return this.kind === 'write' ? this.bytes : DISCARD_COST
  }

  /** Its bytes in one buffer. */
  joined(): Uint8Array {
    const [first] = this.chunks
    if (this.chunks.length === 1) return first!
    const all = new Uint8Array(this.bytes)
    let at = 0
    for (const chunk of this.chunks) {
      all.set(chunk, at)
      at += chunk.length
    }
    this.chunks = [all]
    return all
  }

  /** Merges a request that begins where this one ends, or lies inside it. @returns whether it did */
  absorb({ kind, offset, bytes, durable }: QueuedRequest, chunks: Uint8Array[], longest: number): boolean {
    if (this.issued || this.kind !== kind || this.durable !== durable) return false
    if (offset === this.end && (kind === 'discard' || this.bytes + bytes <= longest)) {
      this.bytes += bytes
      this.chunks.push(...chunks)
      return true
    }
    if (offset < this.offset || offset + bytes > this.end) return false
    for (const chunk of chunks) this.joined().set(chunk, offset - this.offset)
    return true
  }
}

/** See the head of this file. */
export class WriteQueue {
  readonly #target: QueueTarget
  readonly #limit: number
  readonly #longest: number
  /** In order of arrival. */
  readonly #entries = new Set<Entry>()
  #tail: Entry | undefined
  #bytes = 0
  #running = false
  #failure: { readonly error: unknown } | undefined
  #dead: { readonly error: unknown } | undefined
  #forRoom: Waiter[] = []
  #drains: { readonly entry: Entry; readonly waiter: Waiter }[] = []

  /**
   * @param limit bytes beyond which writers should wait
   * @param longest bytes of a request that was joined from several
   */
  constructor(target: QueueTarget, limit: number, longest: number) {
    this.#target = target
    this.#limit = limit
    this.#longest = longest
  }

  /** Bytes queued. */
  get bytes(): number {
    return this.#bytes
  }
  get isEmpty(): boolean {
    return this.#entries.size === 0
  }
  /** Whether the queue is over its limit. */
  get isFull(): boolean {
    return this.#bytes > this.#limit
  }
  /** Whether `bytes` more bytes stay within the limit. An empty queue takes a request of any size. */
  hasRoomFor(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#limit
  }
  /** The failure that stopped the queue. */
  get failure(): unknown {
    return this.#failure?.error
  }
  get isStopped(): boolean {
    return this.#failure !== undefined
  }

  /** Queues a write, and keeps `from`. @returns resolves when it is durable; undefined unless `durable` */
  write(offset: number, from: Uint8Array, durable: boolean): Promise<void> | undefined {
    return this.#push({ kind: 'write', offset, bytes: from.length, durable }, [from])
  }

  /** Queues a discard. @returns resolves when it is durable; undefined unless `durable` */
  discard(offset: number, bytes: number, durable: boolean): Promise<void> | undefined {
    return this.#push({ kind: 'discard', offset, bytes, durable }, [])
  }

  #push(request: QueuedRequest, chunks: Uint8Array[]): Promise<void> | undefined {
    let entry = this.#tail
    const before = entry?.bytes ?? 0
    if (entry?.absorb(request, chunks, this.#longest)) {
      if (entry.kind === 'write') this.#bytes += entry.bytes - before
    } else {
      entry = new Entry(request, chunks)
      this.#entries.add(entry)
      this.#tail = entry
      this.#bytes += entry.cost
    }
    const { owners } = entry
    const done = request.durable
      ? new Promise<void>((resolve, reject) => owners.push({ resolve, reject }))
      : undefined
    this.#start()
    return done
  }

  #start(): void {
    if (!this.#running && !this.#failure && !this.#dead) void this.#run()
  }

  async #run(): Promise<void> {
    this.#running = true
    for (const entry of this.#entries) {
      entry.issued = true
      try {
        await this.#send(entry)
        if (this.#dead) break
        this.#end(entry)
        this.#target.applied(entry)
        for (const owner of entry.owners) owner.resolve()
      } catch (error) {
        if (this.#dead) break
        const verdict = this.#target.failed(entry, error)
        if (verdict !== 'drop') {
          entry.issued = false
          this.#stop(error)
          if (verdict === 'keep') this.#letIn()
          break
        }
        this.#end(entry)
        for (const owner of entry.owners) owner.reject(error)
      }
    }
    this.#running = false
  }

  #send(entry: Entry): Promise<void> {
    return entry.kind === 'write'
      ? this.#target.write(entry.offset, entry.joined(), entry.durable)
      : this.#target.discard(entry.offset, entry.bytes, entry.durable)
  }

  #end(entry: Entry): void {
    this.#entries.delete(entry)
    this.#bytes -= entry.cost
    if (this.#tail === entry) this.#tail = undefined
    for (const follow of entry.followers) follow()
    const drains = this.#drains
    this.#drains = drains.filter((drain) => drain.entry !== entry)
    for (const drain of drains) if (drain.entry === entry) drain.waiter.resolve()
    if (!this.isFull) this.#letIn()
  }

  #letIn(): void {
    const waiting = this.#forRoom
    this.#forRoom = []
    for (const { resolve } of waiting) resolve()
  }

  #stop(error: unknown): void {
    this.#failure = { error }
    const drains = this.#drains
    this.#drains = []
    for (const { waiter } of drains) waiter.reject(error)
  }

  /** Continues after a failure, beginning with the failed request. */
  resume(): void {
    this.#failure = undefined
    this.#start()
  }

  /** Resolves once the queue is within its limit; undefined: it is. @throws when the queue is killed */
  room(): Promise<void> | undefined {
    if (!this.isFull) return undefined
    return new Promise((resolve, reject) => this.#forRoom.push({ resolve, reject }))
  }

  /** Resolves once queued requests that overlap a range have ended in any way; undefined: there are none. */
  behind(offset: number, bytes: number): Promise<void> | undefined {
    let last: Entry | undefined
    for (const entry of this.#entries) if (entry.offset < offset + bytes && offset < entry.end) last = entry
    return last && new Promise((resolve) => last.followers.push(resolve))
  }

  /** Resolves once everything queued so far has reached the image. @throws the failure that stopped it */
  async drain(): Promise<void> {
    if (this.#dead) throw this.#dead.error
    const entry = this.#tail
    if (!entry) return
    if (this.#failure) throw this.#failure.error
    await new Promise<void>((resolve, reject) => this.#drains.push({ entry, waiter: { resolve, reject } }))
  }

  /** Drops everything, and rejects waiting callers. Followers resolve, and notice the end by themselves. */
  kill(error: unknown): void {
    this.#dead = { error }
    const waiting = [...this.#forRoom, ...this.#drains.map(({ waiter }) => waiter)]
    const followers: (() => void)[] = []
    for (const entry of this.#entries) {
      waiting.push(...entry.owners)
      followers.push(...entry.followers)
    }
    this.#entries.clear()
    this.#tail = undefined
    this.#forRoom = []
    this.#drains = []
    this.#bytes = 0
    for (const { reject } of waiting) reject(error)
    for (const follow of followers) follow()
  }
}
