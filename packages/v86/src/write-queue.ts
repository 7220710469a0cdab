/**
 * Writes on their way to the image: taken at once, sent one after the other in the order in which they came, neighbours in one
 * request. A write that fails keeps its place, so that nothing newer can be overtaken by a later try.
 */

/** What a queue holds: bytes to write, or a range to give up. */
export interface QueuedRequest {
  readonly kind: 'write' | 'discard'
  readonly offset: number
  readonly bytes: number
  /** Whoever asked waits until it is durable, and is told if it fails. */
  readonly durable: boolean
}

/**
 * What becomes of a request that failed. `hold`: the queue stops and tries again after {@link WriteQueue.resume}; whoever waits
 * goes on waiting. `keep`: the same, but those who wait for room are let in, since what they wrote has been taken. `drop`:
 * whoever asked for it is told.
 */
export type Verdict = 'hold' | 'keep' | 'drop'

/** Where requests go, and who decides what becomes of those that fail. */
export interface QueueTarget {
  write(offset: number, from: Uint8Array, durable: boolean): Promise<void>
  discard(offset: number, bytes: number, durable: boolean): Promise<void>
  /** A request has ended well. */
  applied(request: QueuedRequest): void
  failed(request: QueuedRequest, error: unknown): Verdict
}

/** What a discard counts for, in bytes of memory. */
export const DISCARD_COST = 512

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

/** One request to come; it grows while it waits. */
class Entry implements QueuedRequest {
  readonly kind: QueuedRequest['kind']
  readonly offset: number
  readonly durable: boolean
  bytes: number
  chunks: Uint8Array[]
  issued = false
  /** Who asked for it, where that is to be durable. */
  readonly owners: Waiter[] = []
  /** Who waits for its end, good or bad. */
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
  /** Bytes of memory that it counts for. */
  get cost(): number {
    return this.kind === 'write' ? this.bytes : DISCARD_COST
  }

  /** All of its bytes in one piece. */
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

  /** Takes in a request that goes on where this one ends, or lies inside it. @returns whether it did */
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
  /** In the order in which they came. */
  readonly #entries = new Set<Entry>()
  #tail: Entry | undefined
  #bytes = 0
  #running = false
  #failure: { readonly error: unknown } | undefined
  #dead: { readonly error: unknown } | undefined
  #forRoom: Waiter[] = []
  #drains: { readonly entry: Entry; readonly waiter: Waiter }[] = []

  /**
   * @param limit bytes: from here on, whoever writes shall wait
   * @param longest bytes of a request that was joined of several
   */
  constructor(target: QueueTarget, limit: number, longest: number) {
    this.#target = target
    this.#limit = limit
    this.#longest = longest
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes
  }
  get isEmpty(): boolean {
    return this.#entries.size === 0
  }
  /** More waits than should. */
  get isFull(): boolean {
    return this.#bytes > this.#limit
  }
  /** Whether so many bytes more would be too many. An empty queue takes anything. */
  hasRoomFor(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#limit
  }
  /** The failure at which the queue stands still. */
  get failure(): unknown {
    return this.#failure?.error
  }
  get isStopped(): boolean {
    return this.#failure !== undefined
  }

  /** Takes a write; the queue keeps `from`. @returns when it is durable, where that was asked for */
  write(offset: number, from: Uint8Array, durable: boolean): Promise<void> | undefined {
    return this.#push({ kind: 'write', offset, bytes: from.length, durable }, [from])
  }

  /** Takes a discard. @returns when it is durable, where that was asked for */
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

  /** Goes on after a failure, beginning with what failed. */
  resume(): void {
    this.#failure = undefined
    this.#start()
  }

  /** Resolves once no more is held than should be; undefined: now. @throws when the queue is ended */
  room(): Promise<void> | undefined {
    if (!this.isFull) return undefined
    return new Promise((resolve, reject) => this.#forRoom.push({ resolve, reject }))
  }

  /** Resolves once nothing of a range is on its way any more, or has failed for good; undefined: now. */
  behind(offset: number, bytes: number): Promise<void> | undefined {
    let last: Entry | undefined
    for (const entry of this.#entries) if (entry.offset < offset + bytes && offset < entry.end) last = entry
    return last && new Promise((resolve) => last.followers.push(resolve))
  }

  /** Resolves once all that was taken before the call has reached the image. @throws what the queue stands still for */
  async drain(): Promise<void> {
    if (this.#dead) throw this.#dead.error
    const entry = this.#tail
    if (!entry) return
    if (this.#failure) throw this.#failure.error
    await new Promise<void>((resolve, reject) => this.#drains.push({ entry, waiter: { resolve, reject } }))
  }

  /** Drops everything, and tells whoever waits. Those who only follow go on, and see for themselves. */
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
