/**
 * Copying from node to node: several readers ahead, one writer or several, zeroes and what lies beneath left out. It is
 * what converting, committing and rebasing have in common.
 */
import {
  type Check,
  expects,
  oneOfWords,
  requireCallback,
  requireCount,
  requireFlag,
  requireOptions,
  requirePositive,
  requireRate,
  requireSignal,
} from './arguments.ts'
import { SECTOR } from './bits.ts'
import type { CopyMap, CopyRange } from './copy-map.ts'
import { pause } from './drivers/event-loop.ts'
import { failureOf } from './errno.ts'
import type { BlockError } from './errors.ts'
import type { BlockNode } from './node.ts'
import { requireNode } from './node-arguments.ts'
import type { AbortSignalLike } from './platform-types.ts'
import { RateLimit } from './rate-limit.ts'
import { SparseRuns, type SparseRunsOptions } from './sparse-runs.ts'

/** A part of a copy that is done in one go: a range, or a part of one. */
export type CopyPiece = CopyRange

/** How to copy. */
export interface CopyOptions {
  readonly map: CopyMap
  readonly target: BlockNode
  /**
   * What becomes of ranges that read as zeroes: `write`: they are made to read as zeroes; `skip`: they already do;
   * `data`: zero bytes are written, so that the target is allocated in full. Default: `write`.
   */
  readonly zeroes?: 'write' | 'skip' | 'data' | undefined
  /** Looks for zeroes in data, which then count as such ranges; left out: data is written as it is. */
  readonly sparse?: SparseRunsOptions | undefined
  /** Bytes of the longest piece. Default: 2 MiB, as in QEMU. */
  readonly pieceBytes?: number | undefined
  /** Pieces that are worked on at the same time. Default: 8. */
  readonly parallel?: number | undefined
  /** Write pieces whenever they are there, not one after the other. Default: off. */
  readonly outOfOrder?: boolean | undefined
  /** Write compressed: pieces are clusters of so many bytes. */
  readonly compressedCluster?: number | undefined
  /** Let the host copy data where it can; what it copies is not searched for zeroes. */
  readonly offload?: boolean | undefined
  /** At most so many bytes are written per second; default: no limit. */
  readonly rate?: number | undefined
  /** Memory for the pieces that are worked on; page-aligned memory is quicker. */
  readonly allocate?: ((bytes: number) => Uint8Array) | undefined
  /**
   * Told that a sector cannot be read, by its offset in its source; zeroes are then written in its place. Without it
   * the copy ends.
   */
  readonly onReadError?: ((offset: number, error: unknown) => void) | undefined
  /** A piece is begun; before it is read, so that it is known even while a source is slow. */
  readonly onBegin?: ((piece: CopyPiece) => void) | undefined
  /** A piece is in the target. */
  readonly onEnd?: ((piece: CopyPiece) => void) | undefined
  /** Ends the copy when it is aborted: what is in flight ends, nothing new begins. */
  readonly signal?: AbortSignalLike | undefined
}

const requireMap = expects('a CopyMap', (value) => {
  const { ranges, read } = (value ?? {}) as Partial<CopyMap>
  return typeof ranges === 'function' && typeof read === 'function'
})

const COPY: Readonly<Record<string, Check>> = {
  map: requireMap,
  target: requireNode,
  zeroes: oneOfWords('write', 'skip', 'data'),
  sparse: (value) =>
    requireOptions(value, 'sparse', {
      minimum: requireCount,
      alignment: requirePositive,
      isZero: requireCallback,
    }),
  pieceBytes: requirePositive,
  parallel: requirePositive,
  outOfOrder: requireFlag,
  compressedCluster: requirePositive,
  offload: requireFlag,
  rate: requireRate,
  allocate: requireCallback,
  onReadError: requireCallback,
  onBegin: requireCallback,
  onEnd: requireCallback,
  signal: requireSignal,
}

/** Bytes of a piece in QEMU (`IO_BUF_SIZE`). */
const PIECE = 2 * 1024 * 1024
/** Pieces in flight in QEMU. */
const PARALLEL = 8

/**
 * Copies everything.
 *
 * @throws BlockError `error while reading at byte N: ...`, `error while writing at byte N: ...`, or what the map
 *   throws; the reason of an aborted signal: then the target has some of the content
 */
export async function copyNodes(options: CopyOptions): Promise<void> {
  requireOptions(options, 'options', COPY)
  requireMap(options.map, 'map')
  requireNode(options.target, 'target')
  await new Copy(options).run()
}

class Copy {
  readonly #options: CopyOptions
  readonly #pieces: AsyncGenerator<CopyPiece, void, undefined>
  readonly #pieceBytes: number
  readonly #parallel: number
  readonly #sparse: SparseRuns | undefined
  readonly #limit: RateLimit | undefined
  #memory: Uint8Array | undefined
  /** Resolves when the piece before the next one is written. */
  #turn: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | undefined
  #offload: boolean

  constructor(options: CopyOptions) {
    const { sparse, rate, compressedCluster } = options
    this.#options = options
    this.#offload = options.offload === true
    this.#pieceBytes = compressedCluster ?? options.pieceBytes ?? PIECE
    this.#parallel = options.parallel ?? PARALLEL
    this.#sparse = sparse && new SparseRuns(sparse)
    this.#limit = rate ? new RateLimit(rate) : undefined
    this.#pieces = compressedCluster === undefined ? this.#cut() : this.#cutClusters(compressedCluster)
  }

  async run(): Promise<void> {
    const workers = Array.from({ length: this.#parallel }, (_, index) => this.#work(index))
    await Promise.all(workers)
    this.#options.signal?.throwIfAborted()
    if (this.#failure) throw this.#failure.error
  }

  get #ended(): boolean {
    return this.#failure !== undefined || this.#options.signal?.aborted === true
  }

  /** Takes pieces as long as there are any. A failure is kept, and ends all workers. */
  async #work(index: number): Promise<void> {
    try {
      while (!this.#ended) {
        // A generator serves those who wait for it in order.
        const next = await this.#pieces.next()
        if (next.done) return
        // Nothing may be asked for it, and many follow.
        const turning = pause()
        if (turning) await turning
        await this.#copy(next.value, index)
      }
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  async #copy(piece: CopyPiece, index: number): Promise<void> {
    const { outOfOrder, onBegin, onEnd } = this.#options
    let done!: () => void
    const before = this.#turn
    this.#turn = new Promise((resolve) => (done = resolve))
    try {
      if (this.#ended) return
      onBegin?.(piece)
      const isOffloaded = this.#offload && piece.host !== undefined
      let data = isOffloaded ? undefined : await this.#load(piece, index)
      if (!outOfOrder) await before
      if (this.#ended) return
      if (isOffloaded && !(await this.#copyInHost(piece))) data = await this.#load(piece, index)
      if (data) await this.#store(piece, data)
      else if (piece.kind === 'zero') await this.#storeZeroes(piece.offset, piece.bytes)
      if (!this.#ended) onEnd?.(piece)
    } catch (error) {
      // Kept before the next one gets its turn.
      this.#failure ??= { error }
    } finally {
      done()
    }
  }

  /** The bytes to be written; undefined where none are. */
  async #load({ offset, bytes, kind }: CopyPiece, index: number): Promise<Uint8Array | undefined> {
    const isFull = this.#options.zeroes === 'data'
    if (kind === 'beneath' || (kind === 'zero' && !isFull)) return undefined
    const data = this.#buffer(index).subarray(0, bytes)
    if (kind === 'zero') return data.fill(0)
    try {
      await this.#options.map.read(offset, data)
    } catch (error) {
      if (!this.#options.onReadError) throw atByte('reading', offset, error)
      await this.#salvage(offset, data)
    }
    return data
  }

  /** Reads sector by sector: what cannot be read becomes zeroes. */
  async #salvage(offset: number, data: Uint8Array): Promise<void> {
    const { map, onReadError, signal } = this.#options
    for (let done = 0; done < data.length && !signal?.aborted; done += SECTOR) {
      const sector = data.subarray(done, done + SECTOR)
      try {
        await map.read(offset + done, sector)
      } catch (error) {
        onReadError?.(map.offsetInSource(offset + done), error)
        sector.fill(0)
      }
    }
  }

  /** @returns whether it could be done; if not, it is not tried again */
  async #copyInHost({ offset, bytes, host }: CopyPiece): Promise<boolean> {
    const { target, signal } = this.#options
    await this.#limit?.take(bytes, signal)
    if (signal?.aborted) return true
    try {
      await target.copyRange(offset, bytes, host!.node, host!.offset)
      return true
    } catch {
      // Whatever it was: where it is no refusal, reading or writing will meet it again, and say so.
      this.#offload = false
      return false
    }
  }

  async #store({ offset, bytes }: CopyPiece, data: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes; ) {
      const rest = done === 0 ? data : data.subarray(done)
      const run = this.#sparse?.first(rest, offset + done) ?? { bytes: rest.length, zero: false }
      if (run.zero) await this.#storeZeroes(offset + done, run.bytes)
      else await this.#storeData(offset + done, rest.subarray(0, run.bytes))
      done += run.bytes
    }
  }

  async #storeData(offset: number, data: Uint8Array): Promise<void> {
    const { target, compressedCluster, signal } = this.#options
    await this.#limit?.take(data.length, signal)
    if (signal?.aborted) return
    try {
      if (compressedCluster === undefined) await target.write(offset, data)
      else await target.writeCompressed(offset, data)
    } catch (error) {
      throw atByte('writing', offset, error)
    }
  }

  async #storeZeroes(offset: number, bytes: number): Promise<void> {
    const { target, zeroes, signal } = this.#options
    if (zeroes === 'skip') return
    await this.#limit?.take(bytes, signal)
    if (signal?.aborted) return
    try {
      await target.writeZeroes(offset, bytes, { mayUnmap: true })
    } catch (error) {
      throw atByte('writing', offset, error)
    }
  }

  /** The worker's part of the memory, which is taken when it is first needed. */
  #buffer(index: number): Uint8Array {
    const { allocate = (bytes) => new Uint8Array(bytes) } = this.#options
    this.#memory ??= allocate(this.#parallel * this.#pieceBytes)
    return this.#memory.subarray(index * this.#pieceBytes, (index + 1) * this.#pieceBytes)
  }

  /** Ranges that are read or written as data are cut; others are one request. */
  async *#cut(): AsyncGenerator<CopyPiece, void, undefined> {
    const { map, zeroes } = this.#options
    for await (const range of map.ranges()) {
      const { offset, bytes, kind, host } = range
      const isData = kind === 'data' || (kind === 'zero' && zeroes === 'data')
      const longest = isData ? this.#pieceBytes : bytes
      for (let done = 0; done < bytes; done += longest)
        yield {
          offset: offset + done,
          bytes: Math.min(longest, bytes - done),
          kind,
          host: host && { ...host, offset: host.offset + done },
        }
    }
  }

  /**
   * Compressed data is written in whole clusters: one with anything in it is data, and what fills clusters
   * otherwise stays what it is.
   */
  async *#cutClusters(cluster: number): AsyncGenerator<CopyPiece, void, undefined> {
    const { map } = this.#options
    let at = 0
    for await (const { offset, bytes, kind } of map.ranges()) {
      const end = offset + bytes
      while (at < end) {
        const left = Math.min(cluster, map.size - at)
        const whole = end - at - ((end - at) % cluster)
        const isPlain = kind !== 'data' && whole > 0
        const piece = isPlain
          ? { offset: at, bytes: whole, kind }
          : { offset: at, bytes: left, kind: 'data' as const }
        yield piece
        at += piece.bytes
      }
    }
  }
}

/** A failure of a request, in QEMU's words. */
const atByte = (what: 'reading' | 'writing', offset: number, cause: unknown): BlockError =>
  failureOf(`error while ${what} at byte ${offset}`, cause, offset)
