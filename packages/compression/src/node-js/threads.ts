/**
 * A few threads with an instance of zstd each. They begin when there is work, keep no process alive that has nothing else to do,
 * and end when there was none for a while. Their program is a text: it needs no file beside this one, which bundlers would lose.
 */
import { availableParallelism } from 'node:os'
import { type MessagePort, Worker } from 'node:worker_threads'
import { compileZstd, makeZstd } from '../shared/zstd-instance.ts'

/** What a thread is asked. */
interface Task {
  readonly kind: 'compress' | 'decompress'
  readonly data: Uint8Array
  /** The most bytes that the result of `decompress` may have. */
  readonly room: number
}

/** What a thread answers, in the order of the tasks. */
type Answer = { readonly result: Uint8Array } | { readonly error: string }

interface Waiting {
  resolve(result: Uint8Array): void
  reject(error: Error): void
}

interface Thread {
  readonly worker: Worker
  readonly waiting: Waiting[]
}

/** The most threads. */
const MOST = 4
/** Milliseconds after which threads that have nothing to do end. */
const IDLE = 10_000

/** Runs in a thread; refers to nothing outside of itself. */
const serve = (zstd: Awaited<ReturnType<typeof makeZstd>>, port: MessagePort): void => {
  port.on('message', (task: Task) => {
    try {
      const result =
        task.kind === 'compress' ? zstd.compress(task.data) : zstd.decompress(task.data, task.room)
      port.postMessage({ result }, [result.buffer as ArrayBuffer])
    } catch (error) {
      port.postMessage({ error: String(error) })
    }
  })
}

/** Neither `require` nor `import`: which of them a text may use depends on the flags of the process. */
const PROGRAM = `
const { parentPort, workerData } = process.getBuiltinModule('node:worker_threads')
;(${makeZstd})(workerData).then((zstd) => (${serve})(zstd, parentPort))
`

/** See the head of this file. */
export class Threads {
  readonly #most = Math.min(MOST, availableParallelism())
  #module: Promise<WebAssembly.Module> | undefined
  #threads: Thread[] = []
  #idle: NodeJS.Timeout | undefined

  /** What the threads are instances of; compiled once. */
  get module(): Promise<WebAssembly.Module> {
    this.#module ??= compileZstd()
    return this.#module
  }

  /** Runs a task on a thread. @throws Error what zstd says of it, or that there is no thread */
  async run(task: Task): Promise<Uint8Array> {
    const module = await this.module
    const thread = this.#leastBusy(module)
    // Cloning a view would copy the whole buffer that it is a part of.
    const data = task.data.slice()
    return new Promise((resolve, reject) => {
      thread.waiting.push({ resolve, reject })
      thread.worker.ref()
      thread.worker.postMessage({ ...task, data }, [data.buffer])
    })
  }

  #leastBusy(module: WebAssembly.Module): Thread {
    clearTimeout(this.#idle)
    const least = this.#threads.reduce<Thread | undefined>(
      (best, thread) => (best && best.waiting.length <= thread.waiting.length ? best : thread),
      undefined,
    )
    if (least && (least.waiting.length === 0 || this.#threads.length === this.#most)) return least
    const thread = this.#start(module)
    this.#threads.push(thread)
    return thread
  }

  #start(module: WebAssembly.Module): Thread {
    const waiting: Waiting[] = []
    const worker = new Worker(PROGRAM, { eval: true, workerData: module, name: 'zstd', stdin: false })
    const thread: Thread = { worker, waiting }
    worker.on('message', (answer: Answer) => {
      const { resolve, reject } = waiting.shift()!
      if ('result' in answer) resolve(answer.result)
      else reject(new Error(answer.error))
      if (waiting.length > 0) return
      worker.unref()
      if (this.#threads.every((other) => other.waiting.length === 0)) this.#rest()
    })
    worker.on('error', (error) => this.#drop(thread, error))
    worker.on('exit', () => this.#drop(thread, new Error('The thread of zstd has ended')))
    return thread
  }

  #drop(thread: Thread, error: Error): void {
    this.#threads = this.#threads.filter((other) => other !== thread)
    for (const { reject } of thread.waiting.splice(0)) reject(error)
  }

  #rest(): void {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => {
      for (const { worker } of this.#threads.splice(0)) void worker.terminate()
    }, IDLE)
    this.#idle.unref()
  }
}
