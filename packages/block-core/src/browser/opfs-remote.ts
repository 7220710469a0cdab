/** A file of the origin private file system for pages, which cannot open one: a worker holds it. */

import { BlockError, messageOf } from '../base/errors.ts'
import type { WorkerLike } from '../base/platform-types.ts'
import type { Patience } from '../contract/node-ops.ts'
import type { OpfsFile, OpfsRequest } from './opfs-handle.ts'
import type { OpfsCall, OpfsReady, OpfsReply } from './opfs-messages.ts'

type Success = Extract<OpfsReply, { readonly ok: true }>

/** Makes a worker, or is the URL of its script, a module. */
export type WorkerSource = (() => WorkerLike) | string | URL

/** Milliseconds without a reply after which a worker counts as dead, at start and while its file closes. */
const ANSWER = 30_000
/** The same when the file is abandoned. */
const LAST_ANSWER = 2000

/**
 * Opens a file in its own worker. @throws BlockError as `openHandle` does; EIO if the worker does not start,
 * ETIMEDOUT if it does not reply
 */
export async function openRemote(request: OpfsRequest, source?: WorkerSource): Promise<OpfsFile> {
  const line = new Line(startWorker(source), source)
  try {
    await line.ready
    line.limit(request.lockTimeout + ANSWER)
    const { size = 0 } = await line.call({ kind: 'open', request })
    line.limit(undefined)
    return new RemoteFile(line, size)
  } catch (error) {
    line.hangUp()
    throw error
  }
}

/** @throws BlockError EIO if the browser refuses: pages of `file:`, scripts of other origins, policies */
function startWorker(source: WorkerSource | undefined): WorkerLike {
  try {
    if (typeof source === 'function') return source()
    if (source !== undefined) return new Worker(source, { type: 'module' })
    // Bundlers recognize this expression, and bundle the worker's code.
    return new Worker(new URL('./opfs-worker.ts', import.meta.url), { type: 'module' })
  } catch (cause) {
    throw noWorker(messageOf(cause), cause)
  }
}

const noWorker = (why: string, cause?: unknown): BlockError =>
  new BlockError(
    'EIO',
    `The worker that holds the file did not start: ${why}. Its script is @vmblock/block-core/opfs-worker (or ` +
      "@vmblock/v86/opfs-worker): put it beside the page's script as opfs-worker.js, or give the option 'worker'",
    { cause },
  )

/** Finds out why a worker failed without a message, by fetching its script: the browser does not say. */
async function reasonOf(source: WorkerSource | undefined): Promise<string> {
  if (typeof source === 'function') return 'its script is not there, or failed'
  const url = source ?? new URL('./opfs-worker.ts', import.meta.url)
  try {
    const { ok, status, headers } = await fetch(url, { method: 'HEAD' })
    const type = headers.get('content-type') ?? 'nothing'
    if (!ok) return `${url} answers with status ${status}`
    if (!/javascript|ecmascript/.test(type)) return `${url} is served as ${type}, not as JavaScript`
  } catch {
    return `${url} cannot be fetched`
  }
  return `a policy of the page (worker-src) may forbid ${url}, or it failed`
}

interface Waiting {
  resolve(reply: Success): void
  reject(error: BlockError): void
}

/** Calls to a worker and its replies, which come in the order of the calls. */
class Line {
  /** Resolves when the worker's first message arrives. */
  readonly ready: Promise<void>
  readonly #worker: WorkerLike
  readonly #waiting: Waiting[] = []
  #broken: BlockError | undefined
  #limit: number | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #fail!: (error: BlockError) => void

  constructor(worker: WorkerLike, source: WorkerSource | undefined) {
    this.#worker = worker
    let isReady = false
    this.ready = new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#break(noWorker(`it has said nothing for ${ANSWER / 1000} seconds`)),
        ANSWER,
      )
      this.#fail = (error) => {
        clearTimeout(timer)
        reject(error)
      }
      worker.addEventListener('message', ({ data }: MessageEvent<OpfsReply | OpfsReady>) => {
        isReady = true
        clearTimeout(timer)
        resolve()
        if ('ready' in data) return
        const waiting = this.#waiting.shift()
        this.#startTimer()
        if (data.ok) waiting?.resolve(data)
        else waiting?.reject(new BlockError(data.code, data.message))
      })
    })
    worker.addEventListener('error', async (event: ErrorEvent) => {
      event.preventDefault()
      const { message } = event
      if (isReady)
        this.#break(
          new BlockError('EIO', `The worker that holds the file failed: ${message || 'it did not say why'}`),
        )
      else this.#break(noWorker(message || (await reasonOf(source))))
    })
  }

  call(call: OpfsCall, transfer: readonly ArrayBufferLike[] = []): Promise<Success> {
    if (this.#broken) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      if (this.#waiting.length === 1) this.#startTimer()
      this.#worker.postMessage(call, { transfer: transfer as ArrayBuffer[] })
    })
  }

  /**
   * Sets the milliseconds without an awaited reply after which the worker counts as dead; undefined: none.
   */
  limit(milliseconds: number | undefined): void {
    this.#limit = milliseconds
    this.#startTimer()
  }

  #startTimer(): void {
    clearTimeout(this.#timer)
    if (this.#limit === undefined || this.#waiting.length === 0) return
    const seconds = this.#limit / 1000
    this.#timer = setTimeout(() => {
      this.#break(
        new BlockError('ETIMEDOUT', `The worker that holds the file did not answer for ${seconds} seconds`),
      )
      this.#worker.terminate()
    }, this.#limit)
  }

  hangUp(): void {
    this.#break(new BlockError('ECANCELED', 'the file was closed under the request'))
    this.#worker.terminate()
  }

  #break(error: BlockError): void {
    this.#broken ??= error
    this.#fail(error)
    for (const { reject } of this.#waiting.splice(0)) reject(error)
    clearTimeout(this.#timer)
  }
}

class RemoteFile implements OpfsFile {
  readonly initialSize: number
  readonly #line: Line

  constructor(line: Line, size: number) {
    this.#line = line
    this.initialSize = size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const { data } = await this.#line.call({ kind: 'read', offset, bytes: into.length })
    into.set(data!)
  }
  async write(offset: number, from: Uint8Array): Promise<void> {
    // A copy to transfer: the buffer belongs to the caller, and `from` may be only a part of it.
    const data = new Uint8Array(from)
    await this.#line.call({ kind: 'write', offset, data }, [data.buffer])
  }
  async truncate(size: number): Promise<void> {
    await this.#line.call({ kind: 'truncate', size })
  }
  async flush(): Promise<void> {
    await this.#line.call({ kind: 'flush' })
  }
  async close(): Promise<void> {
    this.setPatience('limited')
    try {
      await this.#line.call({ kind: 'close' })
    } finally {
      this.#line.hangUp()
    }
  }
  async abandon(): Promise<void> {
    this.#line.limit(LAST_ANSWER)
    await this.#line.call({ kind: 'close' }).catch(() => undefined)
    this.#line.hangUp()
  }
  setPatience(patience: Patience): void {
    // With the usual patience, requests may take as long as the browser's disk takes.
    this.#line.limit(patience === 'usual' ? undefined : ANSWER)
  }
}
