/**
 * Copying from node to node: reads run ahead in parallel, writes are in order or parallel, and ranges that
 * are zero or `beneath` are skipped. Converting, committing and rebasing share this code.
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
  wrongValue,
} from '../base/arguments.ts'
import { alignDown, alignUp, SECTOR } from '../base/bits.ts'
import { failureOf } from '../base/errno.ts'
import { type BlockError, isBlockError } from '../base/errors.ts'
import { pause } from '../base/event-loop.ts'
import type { AbortSignalLike } from '../base/platform-types.ts'
import { RateLimit } from '../base/rate-limit.ts'
import { type JobControl, UNCONTROLLED } from '../contract/job-control.ts'
import type { BlockNode } from '../contract/node.ts'
import { requireControl, requireNode } from '../graph/node-arguments.ts'
import type { CopyMap, CopyRange } from './copy-map.ts'
import { SparseRuns, type SparseRunsOptions } from './sparse-runs.ts'

/** A part of a copy that is handled as one unit: a range, or a part of one. */
export type CopyPiece = CopyRange

/** How to copy. */
export interface CopyOptions {
  readonly map: CopyMap
  readonly target: BlockNode
  /**
   * How ranges that read as zeroes are copied: `write`: the target is made to read as zeroes; `skip`: it
   * already does; `data`: zero bytes are written, so that the target is fully allocated. Default: `write`.
   */
  readonly zeroes?: 'write' | 'skip' | 'data' | undefined
  /** Search data for zeroes, which are then copied as zero ranges. Absent: data is written as it is. */
  readonly sparse?: SparseRunsOptions | undefined
  /** Longest piece, in bytes. Default: 2 MiB, as in QEMU. */
  readonly pieceBytes?: number | undefined
  /** Number of pieces in flight. Default: 8. */
  readonly parallel?: number | undefined
  /** Write each piece as soon as it has been read, not in order. Default: off. */
  readonly outOfOrder?: boolean | undefined
  /** Write compressed, in clusters of this many bytes. */
  readonly compressedCluster?: number | undefined
  /** Let the host system copy data if it can; such data is not searched for zeroes. */
  readonly offload?: boolean | undefined
  /** Most bytes written per second; default: no limit. */
  readonly rate?: number | undefined
  /** Allocates the memory for the pieces in flight; page-aligned memory is faster. */
  readonly allocate?: ((bytes: number) => Uint8Array) | undefined
  /**
   * Called if a sector cannot be read, with its offset in its source; zeroes are then written instead.
   * Without this callback, the copy fails.
   */
  readonly onReadError?: ((offset: number, error: unknown) => void) | undefined
  /** Called when a piece begins, before it is read: so progress shows even while a source is slow. */
  readonly onBegin?: ((piece: CopyPiece) => void) | undefined
  /** Called when a piece is in the target. */
  readonly onEnd?: ((piece: CopyPiece) => void) | undefined
  /** Ends a copy that is no job: the copy rejects with the signal's reason. A job has a signal of its own. */
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
/** Clusters of a piece that is compressed, at least: where clusters are large, several are still compressed at once. */
const LEAST_CLUSTERS = 2
/** Pieces in flight in QEMU. */
const PARALLEL = 8

/**
 * Copies all ranges of `map` to `target`. Progress is in bytes, those that need no request included.
 *
 * @param control that of the job which this is part of
 * @throws BlockError `error while reading at byte N: ...`, `error while writing at byte N: ...`, or what the map
 *   throws; the reason for a cancellation: then the target has some of the content. EINVAL for wrong options, such as a
 *   signal beside that of a job
 */
export async function copyNodes(options: CopyOptions, control: JobControl = UNCONTROLLED): Promise<void> {
  requireOptions(options, 'options', COPY)
  requireMap(options.map, 'map')
  requireNode(options.target, 'target')
  requireControl(control, 'control')
  const { signal } = options
  if (signal && control.signal) throw wrongValue('signal', 'the signal of the job, or none', signal)
  await new Copy(options, signal ? { ...control, signal } : control).run()
}

class Copy {
  readonly #options: CopyOptions
  readonly #control: JobControl
  readonly #pieces: AsyncGenerator<CopyPiece, void, undefined>
  readonly #pieceBytes: number
  readonly #parallel: number
  readonly #sparse: SparseRuns | undefined
  #limit: RateLimit | undefined
  #memory: Uint8Array | undefined
  /** Pieces in flight. */
  readonly #begun = new Set<Promise<void>>()
  /** Bytes. */
  #done = 0
  /** Resolves when the piece before the next one is written. */
  #turn: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | undefined
  #offload: boolean

  constructor(options: CopyOptions, control: JobControl) {
    const { sparse, compressedCluster } = options
    this.#options = options
    this.#control = control
    this.#offload = options.offload === true
    const { pieceBytes = PIECE } = options
    this.#pieceBytes = compressedCluster ? wholeClusters(pieceBytes, compressedCluster) : pieceBytes
    this.#parallel = options.parallel ?? PARALLEL
    this.#sparse = sparse && new SparseRuns(sparse)
    this.#pieces = this.#paced(
      compressedCluster === undefined ? this.#cut() : this.#cutClusters(compressedCluster),
    )
  }

  async run(): Promise<void> {
    this.#control.report(0, this.#options.map.size)
    const workers = Array.from({ length: this.#parallel }, (_, index) => this.#work(index))
    await Promise.all(workers)
    this.#control.signal?.throwIfAborted()
    if (this.#failure) throw this.#failure.error
  }

  get #ended(): boolean {
    return this.#failure !== undefined || this.#control.signal?.aborted === true
  }

  /** Copies pieces until none are left. The first failure is kept, and stops all workers. */
  async #work(index: number): Promise<void> {
    try {
      while (!this.#ended) {
        const next = await this.#pieces.next()
        if (next.done) return
        // A piece may need no request at all, and many such pieces may follow.
        const turning = pause()
        if (turning) await turning
        const copying = this.#copy(next.value, index)
        this.#begun.add(copying)
        await copying
        this.#begun.delete(copying)
      }
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  async #copy(piece: CopyPiece, index: number): Promise<void> {
    const { outOfOrder, onBegin } = this.#options
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
      if (!this.#ended) this.#end(piece)
    } catch (error) {
      // Recorded before the next piece gets its turn.
      this.#failure ??= { error }
    } finally {
      done()
    }
  }

  #end(piece: CopyPiece): void {
    const { map, onEnd } = this.#options
    onEnd?.(piece)
    this.#done += piece.bytes
    this.#control.report(this.#done, map.size)
  }

  /** Returns the bytes to write; undefined if the piece needs no data. */
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

  /** Reads sector by sector; unreadable sectors become zeroes. */
  async #salvage(offset: number, data: Uint8Array): Promise<void> {
    const { map, onReadError } = this.#options
    const { signal } = this.#control
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

  /** @returns whether the host copied the piece; if not, offloading is not tried again */
  async #copyInHost({ offset, bytes, host }: CopyPiece): Promise<boolean> {
    const { target } = this.#options
    await this.#limit?.take(bytes, this.#control.signal)
    if (this.#control.signal?.aborted) return true
    try {
      await target.copyRange(offset, bytes, host!.node, host!.offset)
      return true
    } catch {
      // If this was a real failure, not a refusal, reading or writing will meet and report it again.
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
    const { target, compressedCluster } = this.#options
    await this.#limit?.take(data.length, this.#control.signal)
    if (this.#control.signal?.aborted) return
    try {
      if (compressedCluster === undefined) await target.write(offset, data)
      else await target.writeCompressed(offset, data)
    } catch (error) {
      // Where one of several clusters failed, the driver knows which.
      const at = compressedCluster !== undefined && isBlockError(error) ? error.offset : undefined
      throw atByte('writing', at ?? offset, error)
    }
  }

  async #storeZeroes(offset: number, bytes: number): Promise<void> {
    const { target, zeroes } = this.#options
    if (zeroes === 'skip') return
    await this.#limit?.take(bytes, this.#control.signal)
    if (this.#control.signal?.aborted) return
    try {
      await target.writeZeroes(offset, bytes, { mayUnmap: true })
    } catch (error) {
      throw atByte('writing', offset, error)
    }
  }

  /** The worker's part of the memory, which is allocated on first use. */
  #buffer(index: number): Uint8Array {
    const { allocate = (bytes) => new Uint8Array(bytes) } = this.#options
    this.#memory ??= allocate(this.#parallel * this.#pieceBytes)
    return this.#memory.subarray(index * this.#pieceBytes, (index + 1) * this.#pieceBytes)
  }

  /** Stands still before a piece when the job does. A generator serves concurrent calls of next() in order. */
  async *#paced(pieces: AsyncIterable<CopyPiece>): AsyncGenerator<CopyPiece, void, undefined> {
    const { rate } = this.#options
    const newLimit = (): RateLimit | undefined => (rate ? new RateLimit(rate) : undefined)
    this.#limit = newLimit()
    for await (const piece of pieces) {
      const held = this.#control.checkpoint(() => Promise.all(this.#begun))
      if (held) {
        await held
        // What was not copied during a pause is not made up for.
        this.#limit = newLimit()
      }
      yield piece
    }
  }

  /** Cuts ranges that are read or written as data; other ranges stay one request. */
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
   * Compressed data is written in whole clusters: a cluster with any data is data; only whole clusters keep
   * another kind. Several go into one piece, since a driver compresses those of a request at once.
   */
  async *#cutClusters(cluster: number): AsyncGenerator<CopyPiece, void, undefined> {
    const { map, zeroes } = this.#options
    let at = 0
    for await (const { offset, bytes, kind } of map.ranges()) {
      const longest = kind === 'zero' && zeroes === 'data' ? this.#pieceBytes : bytes
      const end = offset + bytes
      while (at < end) {
        const whole = alignDown(end - at, cluster)
        const touched = kind === 'data' ? alignUp(end - at, cluster) : cluster
        const piece =
          kind !== 'data' && whole > 0
            ? { offset: at, bytes: Math.min(whole, longest), kind }
            : {
                offset: at,
                bytes: Math.min(touched, this.#pieceBytes, map.size - at),
                kind: 'data' as const,
              }
        yield piece
        at += piece.bytes
      }
    }
  }
}

/** A piece of about `bytes` bytes, and at least of {@link LEAST_CLUSTERS}. */
const wholeClusters = (bytes: number, cluster: number): number =>
  Math.max(alignDown(bytes, cluster), LEAST_CLUSTERS * cluster)

/** A failure of a request, in QEMU's words. */
const atByte = (what: 'reading' | 'writing', offset: number, cause: unknown): BlockError =>
  failureOf(`error while ${what} at byte ${offset}`, cause, offset)
