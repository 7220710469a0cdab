/** A file of the origin private file system for those who cannot open one: a worker holds it. */
import { BlockError } from '../errors.ts'
import type { OpfsFile, OpfsRequest } from './opfs-handle.ts'
import type { OpfsCall, OpfsReply } from './opfs-messages.ts'

type Success = Extract<OpfsReply, { readonly ok: true }>

/** Makes the worker. Bundlers know this way of naming it, and take its code along. */
export const startOpfsWorker = (): Worker =>
  new Worker(new URL('./opfs-worker.ts', import.meta.url), { type: 'module' })

/** Opens a file in a worker of its own. @throws BlockError as `openHandle` does; EIO when the worker does not start */
export async function openRemote(request: OpfsRequest, start = startOpfsWorker): Promise<OpfsFile> {
  const line = new Line(start())
  try {
    const { size = 0 } = await line.call({ kind: 'open', request })
    return new RemoteFile(line, size)
  } catch (error) {
    line.hangUp()
    throw error
  }
}

interface Waiting {
  resolve(reply: Success): void
  reject(error: BlockError): void
}

/** Calls to a worker and its answers, which come in the order of the calls. */
class Line {
  readonly #worker: Worker
  readonly #waiting: Waiting[] = []
  #broken: BlockError | undefined

  constructor(worker: Worker) {
    this.#worker = worker
    worker.addEventListener('message', ({ data }: MessageEvent<OpfsReply>) => {
      const waiting = this.#waiting.shift()
      if (data.ok) waiting?.resolve(data)
      else waiting?.reject(new BlockError(data.code, data.message))
    })
    worker.addEventListener('error', (event) => {
      event.preventDefault()
      this.#break(
        new BlockError(
          'EIO',
          `The worker that holds the file failed: ${event.message ?? 'it did not start'}`,
        ),
      )
    })
  }

  call(call: OpfsCall, transfer: readonly ArrayBufferLike[] = []): Promise<Success> {
    if (this.#broken) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#worker.postMessage(call, { transfer: transfer as ArrayBuffer[] })
    })
  }

  hangUp(): void {
    this.#break(new BlockError('ECANCELED', 'the file was closed under the request'))
    this.#worker.terminate()
  }

  #break(error: BlockError): void {
    this.#broken ??= error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
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
    // A copy that can be given away: the caller's memory is not ours to transfer, and may be a part of more.
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
    try {
      await this.#line.call({ kind: 'close' })
    } finally {
      this.#line.hangUp()
    }
  }
}
