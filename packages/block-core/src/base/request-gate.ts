/** Holds requests of a node back, and waits for those in flight: for reopening, resizing and closing. */

/** Counts the requests in flight, and holds back new ones. */
export class RequestGate {
  #all: Promise<void> | undefined
  #writes: Promise<void> | undefined
  #inFlight = 0
  #idle: (() => void)[] = []

  /** A promise that a new request has to await before it checks again; undefined: it may begin now. */
  get all(): Promise<void> | undefined {
    return this.#all
  }
  /** The same, for a request that changes the disk. */
  get writes(): Promise<void> | undefined {
    return this.#all ?? this.#writes
  }
  /** Whether nothing is in flight, and nothing is held back by {@link drained}. */
  get isFree(): boolean {
    return this.#all === undefined && this.#inFlight === 0
  }

  begin(): void {
    this.#inFlight++
  }

  end(): void {
    this.#inFlight--
    if (this.#inFlight > 0 || this.#idle.length === 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Resolves when no request is in flight. New ones may come meanwhile. */
  async drain(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Runs `body` with no request in flight, and holds new ones back until it has ended. */
  async drained<T>(body: () => Promise<T>): Promise<T> {
    while (this.#all) await this.#all
    let open!: () => void
    this.#all = new Promise((resolve) => (open = resolve))
    try {
      await this.drain()
      return await body()
    } finally {
      this.#all = undefined
      open()
    }
  }

  /** Runs `body` once all earlier writes have ended, and holds new ones back until it has ended. */
  async withoutWrites<T>(body: () => Promise<T>): Promise<T> {
    while (this.#writes) await this.#writes
    let open!: () => void
    this.#writes = new Promise((resolve) => (open = resolve))
    try {
      await this.drained(async () => undefined)
      return await body()
    } finally {
      this.#writes = undefined
      open()
    }
  }
}
