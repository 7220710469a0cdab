/**
 * A file on a web server, read by range requests (RFC 9110 section 14). A response shorter than the request
 * is followed by another request, transient failures are retried, and every response is compared with the
 * first, to make sure that the file does not change.
 */

import { BlockError, type BlockErrorCode } from '../base/errors.ts'
import type { Patience } from '../contract/node-ops.ts'
import type { Arrival, ChunkSource } from './chunk-cache.ts'
import {
  type ContentRange,
  compareVersions,
  contentRangeOf,
  differenceOf,
  retryAfterOf,
  type Version,
  versionOf,
} from './http-answer.ts'
import { Exchange } from './http-exchange.ts'
import { addressOf, type HttpAddress } from './http-url.ts'
import { Pauses } from './pauses.ts'
import { Slots } from './slots.ts'
import { isFutile, wordsOf } from './web-error.ts'

/** Settings of the requests. */
export interface HttpSettings {
  readonly url: string
  /** Makes the requests in place of the global `fetch`: to add a login, for instance. */
  readonly fetch: typeof fetch | undefined
  /** Seconds without a byte after which a request has failed; also the total time once the node closes. */
  readonly timeout: number
  /** How often a request is repeated that failed for a transient reason and brought no data. */
  readonly retries: number
  /** Milliseconds before the first repetition; each further one waits twice as long. */
  readonly retryDelay: number
  /** Whether to ignore changes of ETag and date; the size must stay the same. */
  readonly ignoreValidators: boolean
}

/** Simultaneous requests: as many connections as browsers open to one server. */
const CONNECTIONS = 6
/** The longest pause between two attempts, in milliseconds. */
const LONGEST_PAUSE = 60_000
/** Bytes: a response that broke off after this many has made progress, and does not use up a retry. */
const SOMETHING = 4096
/** How often a request is repeated at once when the response's version may be a mirror's. */
const LOOKS = 8

/** A failure, and whether another attempt may succeed. */
class Attempt extends Error {
  readonly error: BlockError
  readonly mayPass: boolean
  /** Milliseconds to wait, as the server requested. */
  readonly pause: number
  /** The version that differs, perhaps only as a mirror's does. */
  readonly doubted: Version | undefined

  constructor(
    error: BlockError,
    mayPass: boolean,
    { pause = 0, doubted = undefined as Version | undefined } = {},
  ) {
    super(error.message)
    this.error = error
    this.mayPass = mayPass
    this.pause = pause
    this.doubted = doubted
  }
}

const statusCode = (status: number): BlockErrorCode =>
  status === 404 || status === 410
    ? 'ENOENT'
    : status === 401 || status === 403 || status === 407
      ? 'EACCES'
      : 'EIO'

/** Whether a status is transient: RFC 9110 section 15, RFC 6585. */
const isPassing = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || status >= 500

/** One file on a server. */
export class HttpSource implements ChunkSource {
  readonly #settings: HttpSettings
  readonly #address: HttpAddress
  readonly #queue = new Slots(CONNECTIONS)
  readonly #running = new Set<Exchange>()
  readonly #pauses = new Pauses()
  /** Versions of mirrors that were seen besides this one. */
  readonly #mirrors: Version[] = []
  #version: Version | undefined
  #patience: Patience = 'usual'
  #deadline: ReturnType<typeof setTimeout> | undefined
  /** Why no more requests are made. */
  #ended: BlockError | undefined

  /** @throws BlockError EINVAL for an invalid URL */
  constructor(settings: HttpSettings) {
    this.#settings = settings
    this.#address = addressOf(settings.url, settings.fetch !== undefined)
  }

  /** Bytes. */
  get size(): number {
    return this.#version?.size ?? 0
  }

  /**
   * Requests the beginning of the file, which also tells its size.
   *
   * @param bytes how much of it to fetch
   * @returns the first `bytes` bytes, or the whole file if it is shorter
   * @throws BlockError ENOTSUP if the server does not support range requests, ENOENT, EACCES, ETIMEDOUT, EIO
   */
  async open(bytes: number): Promise<Uint8Array> {
    const head = new Uint8Array(bytes)
    await this.#fill(0, head)
    return this.size < bytes ? head.slice(0, this.size) : head
  }

  /** @throws BlockError as {@link open}; ECANCELED if the source was stopped meanwhile */
  fetch(offset: number, into: Uint8Array, arrival: Arrival): Promise<void> {
    return this.#fill(offset, into, arrival)
  }

  /** Sets how long requests wait for responses: see {@link NodeOps.setPatience}. */
  setPatience(patience: Patience): void {
    // Once everything was ended, there is nothing to set a limit for.
    if (patience === 'limited' && this.#patience === 'none') return
    clearTimeout(this.#deadline)
    this.#patience = patience
    if (patience === 'usual') return
    // There are no further attempts: requests that wait for one have failed.
    this.#pauses.endAll()
    const { timeout } = this.#settings
    if (patience === 'none') this.#endAll(this.#failed('ECANCELED', 'it was closed'))
    else
      this.#deadline = setTimeout(
        () =>
          this.#endAll(
            this.#failed('ETIMEDOUT', `it was closed, and no answer came within ${timeout} seconds`),
          ),
        Math.min(timeout * 1000, 2 ** 30),
      )
  }

  /** Ends all requests; later ones are refused. */
  stop(): void {
    this.#ended = this.#failed('ECANCELED', 'it was closed')
    this.setPatience('none')
  }

  #endAll(error: BlockError): void {
    this.#patience = 'none'
    for (const exchange of this.#running) exchange.end(new Attempt(error, false))
  }

  #failed(code: BlockErrorCode, why: string, cause?: unknown): BlockError {
    return new BlockError(code, `Could not read '${this.#address.shown}': ${why}`, { cause })
  }

  /** Fills `into` up to the end of the file, with as many requests as that takes. */
  async #fill(offset: number, into: Uint8Array, arrival?: Arrival): Promise<void> {
    let done = 0
    const took = (bytes: number): void => {
      done += bytes
      arrival?.arrived(done)
    }
    const isDone = (): boolean => done >= Math.min(into.length, (this.#version?.size ?? Infinity) - offset)
    while (!isDone()) {
      await this.#persist(
        () => this.#ask(offset + done, into.subarray(done), took),
        () => done,
        isDone,
        arrival,
      )
      if (this.#version?.size === undefined) await this.#findSize(done)
    }
  }

  /** Runs `ask` on a free connection, and repeats it after transient failures. `done`: bytes received. */
  async #persist<T>(
    ask: () => Promise<T>,
    done: () => number = () => 0,
    isDone: () => boolean = () => false,
    arrival?: Arrival,
  ): Promise<T | undefined> {
    const { retries, retryDelay, timeout } = this.#settings
    const doubted: Version[] = []
    for (let tries = 0; ; ) {
      const before = done()
      try {
        this.#requirePatience()
        const result = await this.#queue.run(ask)
        // A changed file does not change back: the differing versions were those of mirrors.
        this.#mirrors.push(...doubted)
        return result
      } catch (failure) {
        if (!(failure instanceof Attempt)) throw failure
        if (failure.doubted && doubted.length < LOOKS) {
          doubted.push(failure.doubted)
          continue
        }
        // Everything wanted arrived before the connection broke.
        if (failure.mayPass && isDone()) return undefined
        if (done() - before >= SOMETHING) tries = 0
        const mayGoOn = failure.mayPass && tries < retries && arrival?.isWanted !== false
        if (!mayGoOn || this.#patience !== 'usual') throw failure.error
        const pause = Math.max(retryDelay * 2 ** tries, Math.min(failure.pause, timeout * 1000))
        await this.#pauses.wait(Math.min(pause, LONGEST_PAUSE))
        if (this.#patience !== 'usual') throw failure.error
        tries++
      }
    }
  }

  /** @throws BlockError ECANCELED if no more requests may be made */
  #requirePatience(): void {
    if (this.#ended || this.#patience === 'none')
      throw this.#ended ?? this.#failed('ECANCELED', 'it was closed')
  }

  /** Makes one request, and passes its response to `read`. */
  async #exchange<T>(
    range: string,
    read: (response: Response, exchange: Exchange) => Promise<T>,
  ): Promise<T> {
    const { timeout, fetch: own } = this.#settings
    const { url, authorization } = this.#address
    this.#requirePatience()
    const exchange = new Exchange(
      timeout * 1000,
      () =>
        new Attempt(this.#failed('ETIMEDOUT', `nothing came from the server for ${timeout} seconds`), true),
    )
    this.#running.add(exchange)
    try {
      const request = (own ?? fetch)(url, {
        headers: { Range: range, ...(authorization !== undefined && { Authorization: authorization }) },
        // The browser's cache would store ranges, and answer with those of another version.
        cache: 'no-store',
        signal: exchange.signal,
      })
      const result = await read(await exchange.answer(request), exchange)
      exchange.done()
      return result
    } catch (error) {
      // The rest of the response is not wanted.
      exchange.end(error)
      throw error instanceof Attempt ? error : this.#broken(error)
    } finally {
      this.#running.delete(exchange)
    }
  }

  /** Turns a connection error into a failed attempt. */
  #broken(error: unknown): Attempt {
    const { hide, hasSecrets, url } = this.#address
    const words = hide(wordsOf(error, url))
    const cause = hasSecrets ? new Error(words) : error
    return new Attempt(this.#failed('EIO', words, cause), !isFutile(error))
  }

  /** Requests a range, and fills `into` with the response. */
  #ask(offset: number, into: Uint8Array, took: (bytes: number) => void): Promise<void> {
    const range = `bytes=${offset}-${offset + into.length - 1}`
    return this.#exchange(range, async (response, exchange) => {
      if (response.status === 416) {
        const size = contentRangeOf(response.headers)?.size
        if (this.#version) this.#compare({ size, etag: '', modified: '' })
        else if (size === 0) {
          // No range of an empty file can be requested.
          this.#version = { size, etag: '', modified: '' }
          return exchange.end(undefined)
        }
      }
      const { first, last, size } = this.#partOf(response)
      if (first !== offset)
        throw this.#refused(
          'EIO',
          `the server sent another range than asked for: from ${first}, not ${offset}`,
        )
      this.#compare(versionOf(response.headers, size))
      const told = Math.min(last, (size ?? Infinity) - 1) + 1 - offset
      await this.#body(exchange, response, into, told, took)
    })
  }

  /** Reads the body of a response that announced `told` bytes, up to the length of `into`. */
  async #body(
    exchange: Exchange,
    response: Response,
    into: Uint8Array,
    told: number,
    took: (bytes: number) => void,
  ): Promise<void> {
    const wanted = Math.min(told, into.length)
    let got = 0
    for await (const piece of exchange.body(response)) {
      const left = wanted - got
      if (piece.length > left && told <= into.length)
        throw this.#refused(
          'EIO',
          `the server sent more than asked for, or more than it says (${told} bytes)`,
        )
      const taken = piece.length > left ? piece.subarray(0, left) : piece
      into.set(taken, got)
      got += taken.length
      took(taken.length)
      if (got === wanted && told > into.length) return exchange.end(undefined)
    }
    if (got < wanted)
      throw new Attempt(
        this.#failed('EIO', `the connection ended early, after ${got} of ${wanted} bytes`),
        true,
      )
  }

  #refused(code: BlockErrorCode, why: string): Attempt {
    return new Attempt(this.#failed(code, why), false)
  }

  /** The range of the file in a response. @throws Attempt if it holds none, or holds it encoded */
  #partOf({ status, type, headers }: Response): Required<ContentRange> {
    if (type === 'opaque' || type === 'opaqueredirect')
      throw this.#refused(
        'ENOTSUP',
        'the answer is hidden from this page: the server must allow other origins (Access-Control-Allow-Origin)',
      )
    if (status === 200) throw this.#refused('ENOTSUP', 'the server does not answer range requests')
    if (status !== 206)
      throw new Attempt(
        this.#failed(statusCode(status), `the server answered ${status}`),
        isPassing(status),
        { pause: retryAfterOf(headers) },
      )
    const encoding = headers.get('content-encoding')?.trim() || 'identity'
    if (encoding.toLowerCase() !== 'identity')
      throw this.#refused('ENOTSUP', `the server encodes what it sends (${encoding})`)
    const kind = headers.get('content-type') ?? ''
    if (/^\s*multipart\//i.test(kind))
      throw this.#refused('ENOTSUP', `the server sends several parts where one was asked for (${kind})`)
    const told = headers.get('content-range')
    if (told === null)
      throw this.#refused(
        'ENOTSUP',
        'its size is not told: the server must send Content-Range, and expose it to other origins (Access-Control-Expose-Headers)',
      )
    const range = contentRangeOf(headers)
    if (!Number.isSafeInteger(range?.size ?? 0)) throw this.#refused('EFBIG', 'its size exceeds 2^53-1 bytes')
    const { first, last = 0, size } = range ?? {}
    if (first === undefined || last < first || first >= (size ?? Infinity) || !Number.isSafeInteger(last))
      throw this.#refused(
        'EIO',
        `the server sent a Content-Range that makes no sense: '${told.slice(0, 80)}'`,
      )
    return { first, last, size }
  }

  /** Compares a response with the first. @throws Attempt if it is, or may be, of another version */
  #compare(found: Version): void {
    this.#version ??= found
    const known = this.#version
    const verdict = this.#settings.ignoreValidators
      ? compareVersions({ ...known, etag: '', modified: '' }, found)
      : compareVersions(known, found)
    if (verdict === 'same') {
      known.size ??= found.size
      known.etag ||= found.etag
      known.modified ||= found.modified
      return
    }
    const isMirror = this.#mirrors.some(
      ({ etag, modified }) => etag === found.etag && modified === found.modified,
    )
    if (verdict === 'doubtful' && isMirror) return
    const error = this.#failed('EIO', `the file changed on the server: ${differenceOf(known, found)}`)
    throw new Attempt(error, false, verdict === 'doubtful' ? { doubted: found } : {})
  }

  /** Finds the end, of at least `known` bytes, if the server does not tell the size (`bytes 0-99/*`). */
  async #findSize(known: number): Promise<void> {
    const version = this.#version!
    // A request without an end gets the rest of the file, unless the server limits its responses.
    let low = Math.max((await this.#probe('bytes=0-')) ?? 0, known)
    /** Whether there is a byte at this offset; if not, the response may tell the size after all. */
    const isThere = async (at: number): Promise<boolean> =>
      (await this.#probe(`bytes=${at}-${at}`)) !== undefined
    let high = low
    for (let step = 65_536; version.size === undefined && (await isThere(high)); step *= 2) {
      low = high + 1
      high = low + step
      if (high > Number.MAX_SAFE_INTEGER) throw this.#failed('EFBIG', 'its size exceeds 2^53-1 bytes')
    }
    while (version.size === undefined && low < high) {
      const middle = low + Math.floor((high - low) / 2)
      if (await isThere(middle)) low = middle + 1
      else high = middle
    }
    version.size ??= low
  }

  /** Requests only the headers of a range. @returns the end of the range sent; undefined if it is empty */
  async #probe(range: string): Promise<number | undefined> {
    return this.#persist(() =>
      this.#exchange(range, async (response, exchange) => {
        const told = contentRangeOf(response.headers)
        const isNothing = response.status === 416 || (told?.last ?? 0) < (told?.first ?? 0)
        const part = isNothing ? undefined : this.#partOf(response)
        const size = part ? part.size : told?.size
        if (size !== undefined && Number.isSafeInteger(size)) this.#version!.size = size
        exchange.end(undefined)
        return part && part.last + 1
      }),
    )
  }
}
