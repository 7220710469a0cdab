/**
 * A file on a web server, read by range requests (RFC 9110 section 14): an answer that gives less than was asked for is gone on
 * with, what may pass is tried again, and every answer is compared with the first, so that it is one file all the time.
 */
import type { Patience } from '../driver.ts'
import { BlockError, type BlockErrorCode } from '../errors.ts'
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

/** How requests are made. */
export interface HttpSettings {
  readonly url: string
  /** What makes them, in place of the global `fetch`: something that adds a login, for instance. */
  readonly fetch: typeof fetch | undefined
  /** Seconds without a byte after which a request has failed, and that requests have in all once the node is being closed. */
  readonly timeout: number
  /** How often a request is made anew that failed for a reason that may pass, and brought nothing. */
  readonly retries: number
  /** Milliseconds before the first of these; each further one waits twice as long. */
  readonly retryDelay: number
  /** The file is the same whatever its ETag and date say; its size must stay. */
  readonly ignoreValidators: boolean
}

/** As many connections as browsers open to one server. */
const CONNECTIONS = 6
/** Milliseconds: the longest pause between two attempts. */
const LONGEST_PAUSE = 60_000
/** Bytes: an answer that broke off after as many has brought something, and does not count as an attempt in vain. */
const SOMETHING = 4096
/** How often a version that may be a mirror's is asked again, at once. */
const LOOKS = 8

/** A failure, and whether another attempt may succeed. */
class Attempt extends Error {
  readonly error: BlockError
  readonly mayPass: boolean
  /** Milliseconds that the server wants to be left alone. */
  readonly pause: number
  /** The version that may be another one. */
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

/** Answers that may be different next time: RFC 9110 section 15, RFC 6585. */
const isPassing = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || status >= 500

/** One file on a server. */
export class HttpSource implements ChunkSource {
  readonly #settings: HttpSettings
  readonly #address: HttpAddress
  readonly #queue = new Slots(CONNECTIONS)
  readonly #running = new Set<Exchange>()
  readonly #pauses = new Pauses()
  /** Other versions that were seen beside this one: those of mirrors. */
  readonly #mirrors: Version[] = []
  #version: Version | undefined
  #patience: Patience = 'usual'
  #deadline: ReturnType<typeof setTimeout> | undefined
  /** Why there are no requests any more. */
  #ended: BlockError | undefined

  /** @throws BlockError EINVAL for what is no URL */
  constructor(settings: HttpSettings) {
    this.#settings = settings
    this.#address = addressOf(settings.url, settings.fetch !== undefined)
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
    const head = new Uint8Array(bytes)
    await this.#fill(0, head)
    return this.size < bytes ? head.slice(0, this.size) : head
  }

  /** @throws BlockError as {@link open}; ECANCELED when it was stopped meanwhile */
  fetch(offset: number, into: Uint8Array, arrival: Arrival): Promise<void> {
    return this.#fill(offset, into, arrival)
  }

  /** How long those who wait for answers go on doing so: see {@link NodeOps.setPatience}. */
  setPatience(patience: Patience): void {
    // What was ended is not waited for again because it ends.
    if (patience === 'limited' && this.#patience === 'none') return
    clearTimeout(this.#deadline)
    this.#patience = patience
    if (patience === 'usual') return
    // No attempt will follow: what waits for one has failed.
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

  /** Fills all of `into` that the file reaches, in as many answers as it takes. */
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

  /** Runs `ask` when a connection is free, and again while its failure may pass. `done` counts what it brought. */
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
        // A file that changed does not change back: these were mirrors.
        this.#mirrors.push(...doubted)
        return result
      } catch (failure) {
        if (!(failure instanceof Attempt)) throw failure
        if (failure.doubted && doubted.length < LOOKS) {
          doubted.push(failure.doubted)
          continue
        }
        // All that was wanted came before it broke off.
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

  /** @throws BlockError ECANCELED when nothing is to be asked any more */
  #requirePatience(): void {
    if (this.#ended || this.#patience === 'none')
      throw this.#ended ?? this.#failed('ECANCELED', 'it was closed')
  }

  /** Makes one request, and has `read` look at its answer. */
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
        // None of the browser's: it would store parts, and answer with those of another version.
        cache: 'no-store',
        signal: exchange.signal,
      })
      const result = await read(await exchange.answer(request), exchange)
      exchange.done()
      return result
    } catch (error) {
      // Whatever the server has still to send is not wanted.
      exchange.end(error)
      throw error instanceof Attempt ? error : this.#broken(error)
    } finally {
      this.#running.delete(exchange)
    }
  }

  /** What went wrong with a connection, and why. */
  #broken(error: unknown): Attempt {
    const { hide, hasSecrets, url } = this.#address
    const words = hide(wordsOf(error, url))
    const cause = hasSecrets ? new Error(words) : error
    return new Attempt(this.#failed('EIO', words, cause), !isFutile(error))
  }

  /** Asks for a range, and fills `into` with what comes of it. */
  #ask(offset: number, into: Uint8Array, took: (bytes: number) => void): Promise<void> {
    const range = `bytes=${offset}-${offset + into.length - 1}`
    return this.#exchange(range, async (response, exchange) => {
      if (response.status === 416) {
        const size = contentRangeOf(response.headers)?.size
        if (this.#version) this.#compare({ size, etag: '', modified: '' })
        else if (size === 0) {
          // Nothing of an empty file can be asked for.
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

  /** Takes the body of an answer that holds `told` bytes; no more of it than is wanted. */
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

  /** What part of the file an answer holds. @throws Attempt where it holds none, or not as it is in the file */
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

  /** Compares an answer with the first. @throws Attempt where it is, or may be, of another version */
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

  /** Finds the end of a file whose answers do not tell its size (`bytes 0-99/*`). At least `known` bytes are there. */
  async #findSize(known: number): Promise<void> {
    const version = this.#version!
    // Without an end the answer goes to that of the file, unless the server gives less at a time.
    let low = Math.max((await this.#probe('bytes=0-')) ?? 0, known)
    /** Whether there is a byte at that place; if not, the server may tell the size after all. */
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

  /** Looks at the headers of an answer. @returns where its part ends; undefined where there is nothing */
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
