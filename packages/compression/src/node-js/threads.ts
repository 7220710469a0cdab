/**
 * A few threads that compress or decompress. Blocks that are to be done at the same time go to them several in one message, in
 * memory that is handed over and comes back with the results, so that neither side makes garbage (nor waits for copies of memory that
 * is shared, which are several times as slow). The threads begin when there is work, keep no process alive that has nothing else to
 * do, and end when there was none for a while. Their program is a text: it needs no file beside this one, which bundlers would lose.
 */
import { availableParallelism } from 'node:os'
import { type MessagePort, Worker } from 'node:worker_threads'

/** Does one block, in a thread. @returns the bytes of the result, in `into` @throws Error what is wrong with `data` */
export type Work = (data: Uint8Array, into: Uint8Array) => number

/** What the threads do. */
export interface Craft {
  /** The name of the threads, for debuggers. */
  readonly name: string
  /**
   * The text of a function that makes the work of each kind from what {@link load} gave. It refers to nothing outside of itself, and
   * has neither `require` nor `import`: which of them a text may use depends on the flags of the process.
   */
  readonly makeWork: string
  /** Loads what threads are given when they begin. */
  load(): Promise<unknown>
}

/** There are no threads here: the process may not have any, or not what they need. */
export class NoThreads extends Error {}

/** Memory of a batch: blocks, and their results; one follows the other without a gap. */
interface Memory {
  readonly input: Uint8Array
  readonly output: Uint8Array
}

/** What a thread is asked. */
interface Batch extends Memory {
  readonly kinds: readonly number[]
  /** Bytes of each block. */
  readonly given: readonly number[]
  /** Bytes of the room for each result. */
  readonly room: readonly number[]
}

/** What a thread answers. */
interface Answer extends Memory {
  /** For each block: the bytes of the result, or what is wrong. */
  readonly results: readonly (number | { readonly message: string; readonly code?: string | undefined })[]
}

interface Piece {
  readonly kind: number
  readonly data: Uint8Array
  readonly into: Uint8Array
  resolve(bytes: number): void
  reject(error: Error): void
}

interface Thread {
  readonly worker: Worker
  /** For the next batches. */
  readonly memory: Memory[]
  /** Batches under way, in the order in which they were sent, which is that of the answers. */
  readonly busy: (readonly Piece[])[]
}

/** The most threads. */
const MOST = 4
/** Batches of a thread: while it does one, others are there already. */
const BATCHES = 4
/** Bytes of results in a batch, unless one block is larger. */
const BATCH_BYTES = 2 ** 19
/** Milliseconds after which threads that have nothing to do end. */
const IDLE = 10_000

/** Runs in a thread; refers to nothing outside of itself. */
const serve = (works: readonly Work[], port: MessagePort): void => {
  port.on('message', ({ kinds, given, room, input, output }: Batch) => {
    let from = 0
    let to = 0
    const results = kinds.map((kind, i) => {
      const data = input.subarray(from, from + given[i]!)
      const into = output.subarray(to, to + room[i]!)
      from += data.length
      to += into.length
      try {
        return works[kind]!(data, into)
      } catch (error) {
        const { message, code } = error as NodeJS.ErrnoException
        return { message, code }
      }
    })
    const answer: Answer = { results, input, output }
    port.postMessage(answer, [input.buffer as ArrayBuffer, output.buffer as ArrayBuffer])
  })
}

/** See the head of this file. */
export class Threads {
  readonly #craft
  readonly #most = Math.min(MOST, availableParallelism())
  #loaded: Promise<unknown> | undefined
  #threads: Thread[] = []
  readonly #queue: Piece[] = []
  #idle: NodeJS.Timeout | undefined
  #starting = false

  constructor(craft: Craft) {
    this.#craft = craft
  }

  /** What threads are given when they begin; loaded once. */
  get loaded(): Promise<unknown> {
    this.#loaded ??= this.#craft.load()
    return this.#loaded
  }

  /**
   * Does one block on a thread.
   *
   * @param kind which of the works
   * @param data not to be changed meanwhile
   * @param into takes the result
   * @returns bytes of the result
   * @throws Error what the work says of the block; {@link NoThreads}
   */
  run(kind: number, data: Uint8Array, into: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ kind, data, into, resolve, reject })
      if (this.#starting) return
      this.#starting = true
      // Later, when the other blocks of the same request are there, too.
      this.loaded.then(
        (loaded) => {
          this.#starting = false
          this.#dispatch(loaded)
        },
        (error: unknown) => {
          this.#starting = false
          this.#refuse(error)
        },
      )
    })
  }

  #dispatch(loaded: unknown): void {
    while (this.#queue.length > 0) {
      let thread: Thread | undefined
      try {
        thread = this.#thread(loaded)
      } catch (error) {
        this.#refuse(error)
      }
      if (!thread) return
      this.#send(thread, this.#next())
    }
  }

  #refuse(cause: unknown): void {
    const none = new NoThreads('There are no threads', { cause })
    for (const piece of this.#queue.splice(0)) piece.reject(none)
  }

  /** The blocks of the next batch. */
  #next(): Piece[] {
    let count = 0
    for (let bytes = 0; count < this.#queue.length; count++) {
      bytes += this.#queue[count]!.into.length
      if (count > 0 && bytes > BATCH_BYTES) break
    }
    return this.#queue.splice(0, count)
  }

  #send({ worker, memory, busy }: Thread, pieces: readonly Piece[]): void {
    const given = pieces.map(({ data }) => data.length)
    const room = pieces.map(({ into }) => into.length)
    const spare = memory.pop()
    const input = withRoom(spare?.input, given)
    const output = withRoom(spare?.output, room)
    let at = 0
    for (const { data } of pieces) {
      input.set(data, at)
      at += data.length
    }
    const batch: Batch = { kinds: pieces.map(({ kind }) => kind), given, room, input, output }
    busy.push(pieces)
    worker.ref()
    worker.postMessage(batch, [input.buffer as ArrayBuffer, output.buffer as ArrayBuffer])
  }

  /** The thread that can take a batch, and has the least to do. */
  #thread(loaded: unknown): Thread | undefined {
    clearTimeout(this.#idle)
    const least = this.#threads.reduce<Thread | undefined>(
      (best, thread) => (best && best.busy.length <= thread.busy.length ? best : thread),
      undefined,
    )
    if (least && (least.busy.length === 0 || this.#threads.length === this.#most))
      return least.busy.length < BATCHES ? least : undefined
    const thread = this.#start(loaded)
    this.#threads.push(thread)
    return thread
  }

  #start(workerData: unknown): Thread {
    const { name, makeWork } = this.#craft
    const program = `
const { parentPort, workerData } = process.getBuiltinModule('node:worker_threads')
;(${makeWork})(workerData).then((works) => (${serve})(works, parentPort))
`
    const worker = new Worker(program, { eval: true, workerData, name, stdin: false })
    const thread: Thread = { worker, memory: [], busy: [] }
    worker.on('message', (answer: Answer) => this.#finish(thread, answer, workerData))
    worker.on('error', (error) => this.#drop(thread, error))
    worker.on('exit', () => this.#drop(thread, new Error(`The thread of ${name} has ended`)))
    return thread
  }

  #finish(thread: Thread, { results, input, output }: Answer, loaded: unknown): void {
    const pieces = thread.busy.shift()!
    let at = 0
    for (const [i, { into, resolve, reject }] of pieces.entries()) {
      const result = results[i]!
      if (typeof result === 'number') {
        into.set(output.subarray(at, at + result))
        resolve(result)
      } else reject(Object.assign(new Error(result.message), { code: result.code }))
      at += into.length
    }
    thread.memory.push({ input, output })
    this.#dispatch(loaded)
    if (thread.busy.length > 0) return
    thread.worker.unref()
    if (this.#threads.every(({ busy }) => busy.length === 0)) this.#rest()
  }

  #drop(thread: Thread, error: Error): void {
    this.#threads = this.#threads.filter((other) => other !== thread)
    for (const { reject } of thread.busy.splice(0).flat()) reject(error)
    // What waited for it alone goes to a new one.
    if (this.#threads.length === 0) for (const { reject } of this.#queue.splice(0)) reject(error)
  }

  #rest(): void {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => {
      for (const { worker } of this.#threads.splice(0)) void worker.terminate()
    }, IDLE)
    this.#idle.unref()
  }
}

/** `memory`, or more of it, if these do not fit. */
function withRoom(memory: Uint8Array | undefined, bytes: readonly number[]): Uint8Array {
  const needed = bytes.reduce((sum, each) => sum + each, 0)
  return memory && needed <= memory.length ? memory : new Uint8Array(Math.max(needed, BATCH_BYTES))
}
