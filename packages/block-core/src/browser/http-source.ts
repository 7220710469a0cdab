/**
 * A file on a web server, read by range requests (RFC 9110 section 14). That it is the same file all the time is checked
 * with every answer: its length, and what the server says of its version.
 */
import PQueue from 'p-queue'
import { BlockError, type BlockErrorCode } from '../errors.ts'
import type { ChunkSource } from './chunk-cache.ts'

/** How requests are made. */
export interface HttpSettings {
  readonly url: string
  /** What makes them: the global `fetch`, or something that adds a login. */
  readonly fetch: typeof fetch
  /** Seconds that one request may take. */
  readonly timeout: number
  /** How often a request is made anew that failed for a reason that may pass. */
  readonly retries: number
  /** Milliseconds before the first of these; each further one waits twice as long. */
  readonly retryDelay: number
}

/** As many connections as browsers open to one server. */
const CONNECTIONS = 6
/** Answers that may be different next time: RFC 9110 section 15, RFC 6585. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504])

/** A failure, and whether another attempt may succeed. */
class Attempt extends Error {
  readonly error: BlockError
  readonly mayPass: boolean

  constructor(error: BlockError, mayPass: boolean) {
    super(error.message)
    this.error = error
    this.mayPass = mayPass
  }
}

const statusCode = (status: number): BlockErrorCode =>
  status === 404 || status === 410 ? 'ENOENT' : status === 401 || status === 403 ? 'EACCES' : 'EIO'

/** What tells one version of the file from another; the empty string where the server does not say. */
interface Version {
  readonly size: number
  readonly etag: string
  readonly modified: string
}

/** One file on a server. */
export class HttpSource implements ChunkSource {
  readonly #settings: HttpSettings
  readonly #queue = new PQueue({ concurrency: CONNECTIONS })
  readonly #stopped = new AbortController()
  #version: Version | undefined

  constructor(settings: HttpSettings) {
    this.#settings = settings
  }

  /** Bytes. */
  get size(): number {
    return this.#version?.size ?? 0
  }

  /**
   * Asks for the beginning of the file, which also tells its size.
   *
   * @param bytes how much of it to fetch
   * @returns the beginning: `bytes`, or all there is
   * @throws BlockError ENOTSUP where the server does not answer ranges, ENOENT, EACCES, ETIMEDOUT, EIO
   */
  async open(bytes: number): Promise<Uint8Array> {
    return this.#queued(async () => {
      const response = await this.#request(0, bytes)
      // Nothing of an empty file can be asked for.
      if (response.status === 416 && /^bytes \*\/0$/.test(response.headers.get('content-range') ?? '')) {
        this.#version = { size: 0, etag: '', modified: '' }
        return new Uint8Array(0)
      }
      this.#version = this.#versionIn(response, 0)
      return this.#body(response, Math.min(bytes, this.size))
    })
  }

  fetch(offset: number, bytes: number): Promise<Uint8Array> {
    return this.#queued(async () => {
      const response = await this.#request(offset, bytes)
      const found = this.#versionIn(response, offset)
      const known = this.#version!
      if (found.size !== known.size || found.etag !== known.etag || found.modified !== known.modified)
        throw new Attempt(this.#failed('EIO', 'the file changed on the server'), false)
      return this.#body(response, bytes)
    })
  }

  /** Ends all requests; later ones are refused. */
  stop(): void {
    this.#stopped.abort()
  }

  #failed(code: BlockErrorCode, why: string, cause?: unknown): BlockError {
    return new BlockError(code, `Could not read '${this.#settings.url}': ${why}`, { cause })
  }

  /** Runs `attempt` when a connection is free, and again while its failure may pass. */
  async #queued<T>(attempt: () => Promise<T>): Promise<T> {
    const { retries, retryDelay } = this.#settings
    for (let tries = 0; ; tries++) {
      if (this.#stopped.signal.aborted) throw this.#failed('ECANCELED', 'it was closed')
      try {
        return await this.#queue.add(attempt)
      } catch (failure) {
        if (!(failure instanceof Attempt)) throw failure
        if (!failure.mayPass || tries >= retries || this.#stopped.signal.aborted) throw failure.error
      }
      await new Promise((resolve) => setTimeout(resolve, retryDelay * 2 ** tries))
    }
  }

  async #request(offset: number, bytes: number): Promise<Response> {
    const { url, timeout } = this.#settings
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(timeout * 1000)])
    try {
      // No cache of the browser's: it would store parts, and answer with those of another version.
      return await this.#settings.fetch(url, {
        headers: { Range: `bytes=${offset}-${offset + bytes - 1}` },
        cache: 'no-store',
        signal,
      })
    } catch (error) {
      throw this.#broken(error)
    }
  }

  /** What went wrong with a connection. */
  #broken(error: unknown): Attempt {
    const { name, message } = error as Error
    if (this.#stopped.signal.aborted)
      return new Attempt(this.#failed('ECANCELED', 'it was closed', error), false)
    if (name === 'TimeoutError')
      return new Attempt(
        this.#failed('ETIMEDOUT', `no answer within ${this.#settings.timeout} seconds`, error),
        true,
      )
    return new Attempt(this.#failed('EIO', message, error), true)
  }

  /** Checks that the answer is that range, as it is in the file. */
  #versionIn(response: Response, offset: number): Version {
    const { status, headers } = response
    const refuse = (code: BlockErrorCode, why: string, mayPass = false): Attempt => {
      void response.body?.cancel().catch(() => undefined)
      return new Attempt(this.#failed(code, why), mayPass)
    }
    if (status === 200) throw refuse('ENOTSUP', 'the server does not answer range requests')
    if (status !== 206) throw refuse(statusCode(status), `the server answered ${status}`, PASSING.has(status))
    const encoding = headers.get('content-encoding') ?? 'identity'
    if (encoding !== 'identity') throw refuse('ENOTSUP', `the server encodes what it sends (${encoding})`)
    const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '')
    if (!range)
      throw refuse(
        'ENOTSUP',
        'its size is not told: the server must send Content-Range, and expose it to other origins (Access-Control-Expose-Headers)',
      )
    if (Number(range[1]) !== offset) throw refuse('EIO', `the server sent another range than asked for`)
    const size = Number(range[2])
    if (!Number.isSafeInteger(size)) throw refuse('EFBIG', 'its size exceeds 2^53-1 bytes')
    return { size, etag: headers.get('etag') ?? '', modified: headers.get('last-modified') ?? '' }
  }

  /** Reads a body of exactly `bytes`; stops reading one that is longer. */
  async #body(response: Response, bytes: number): Promise<Uint8Array> {
    const into = new Uint8Array(bytes)
    let done = 0
    try {
      for await (const piece of piecesOf(response)) {
        if (piece.length > bytes - done) throw this.#failed('EIO', 'the server sent more than asked for')
        into.set(piece, done)
        done += piece.length
      }
    } catch (error) {
      if (error instanceof BlockError) throw new Attempt(error, false)
      throw this.#broken(error)
    }
    if (done < bytes) throw new Attempt(this.#failed('EIO', 'the connection ended early'), true)
    return into
  }
}

/** A body piece by piece; leaving early cancels the rest. */
async function* piecesOf({ body }: Response): AsyncGenerator<Uint8Array> {
  if (!body) return
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
