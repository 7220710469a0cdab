/**
 * An open disk, as most applications use one. It is a thin handle: requests go straight to the node of the block layer,
 * and what takes long or is rarely needed is loaded late.
 */

import type { Bitmaps } from '@vmblock/block-core'
import {
  closedError,
  oneOfWords,
  outsideError,
  parseOptions,
  requireCount,
  requireFlag,
  requireOptions,
  size as sizeOption,
  wrongValue,
} from '@vmblock/block-core/driver'
import {
  BlockError,
  type Bytes,
  type CompactReport,
  type Disk,
  type Listener,
  type NodeEvents,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core/open'
import type { CheckResult, DiskCheckOptions } from '../images/check-image.ts'
import type { DiskInfo } from '../images/describe.ts'
import type { RebaseOptions } from '../images/rebase-image.ts'
import type { JobSettings } from '../jobs/run-job.ts'
import type { Extent, walkExtents as WalkExtents } from '../streams/extents.ts'
import { type RangeOptions, rangeOf, requireWithin } from '../streams/range.ts'
import { type ReadableOptions, readableOf } from '../streams/readable.ts'
import { type WritableOptions, writableOf } from '../streams/writable.ts'
import { diskBitmaps } from './bitmaps.ts'
import { loadImages } from './load-images.ts'
import { type DiskSnapshots, diskSnapshots } from './snapshots.ts'

/** The walk of streams/extents.ts. */
async function* lateExtents(...given: Parameters<typeof WalkExtents>): ReturnType<typeof WalkExtents> {
  yield* (await loadImages()).walkExtents(...given)
}

/** Bytes of a sector: a slice has whole ones. */
const SECTOR = 512

const RESIZE = { size: sizeOption() }

/** The events of a disk. */
const EVENTS = [
  'resize',
  'corrupt',
  'io-error',
  'repair',
  'warn',
  'close',
  'stop',
  'resume',
] as const satisfies (keyof NodeEvents)[]

const requireEvent = oneOfWords(...EVENTS)

/** How a disk is resized. */
export interface ResizeOptions {
  /** Whether it may become smaller; what is beyond the new end is lost. Default: no. */
  readonly shrink?: boolean | undefined
}

/** What a disk is made of. */
export interface DiskParts {
  readonly node: Disk
  /** Whether closing the disk closes its node. */
  readonly ownsNode: boolean
  /** The drivers with which more nodes are opened on it. */
  readonly environment: OpenEnvironment
  /** The image of a snapshot that was opened alone: closed after it. */
  readonly image?: Disk
}

/**
 * An open disk: made by `open`, and by {@link VirtualDisk.slice}. Offsets and lengths are bytes. Requests may be made in
 * parallel; those that overlap run in the order in which they were made.
 *
 * After {@link VirtualDisk.close}, everything fails with BlockError ENOMEDIUM.
 */
export class VirtualDisk implements AsyncDisposable {
  /** The disk in the block layer: for graphs, jobs, observers, statistics and error policies. */
  readonly node: Disk
  readonly #parts: DiskParts
  #isClosed = false

  /** @internal Made by `open`. */
  constructor(parts: DiskParts) {
    this.#parts = parts
    this.node = parts.node
  }

  /** Bytes. */
  get size(): number {
    return this.node.size
  }
  /** The name of the driver: `qcow2`, `qed`, `raw`. */
  get format(): string {
    return this.node.driver.name
  }
  get readOnly(): boolean {
    return this.node.readOnly
  }
  get isOpen(): boolean {
    return !this.#isClosed && this.node.isOpen
  }

  /**
   * Reads: `bytes` bytes into a new array, or as many as `into` holds into `into`, which is returned.
   *
   * @throws BlockError EINVAL for arguments of other types; EIO outside the disk, and for failures of the storage;
   *   ENOMEM for more bytes than an array can have; ENOMEDIUM when closed
   */
  read(offset: number, bytes: number): Promise<Uint8Array<ArrayBuffer>>
  read<T extends Bytes>(offset: number, into: T): Promise<T>
  async read(offset: number, target: number | Bytes): Promise<Bytes> {
    const node = this.#open()
    const into = typeof target === 'number' ? this.#room(offset, target) : target
    await node.read(offset, into)
    return into
  }

  /**
   * Writes `from` at `offset`. It is durable after {@link flush}.
   *
   * @throws BlockError EINVAL for arguments of other types; EIO outside the disk; EPERM if it is read-only; ENOSPC;
   *   EIO for failures of the storage; ENOMEDIUM when closed
   */
  async write(offset: number, from: Bytes): Promise<void> {
    await this.#open().write(offset, from)
  }

  /** Makes a range read as zeroes, without room for them where the format can. @throws as {@link write} */
  async writeZeroes(offset: number, bytes: number): Promise<void> {
    await this.#open().writeZeroes(offset, bytes, { mayUnmap: true })
  }

  /**
   * Gives up the content of a range: what it reads as afterwards depends on the format. Does nothing where that is not
   * possible. @throws as {@link write}
   */
  async discard(offset: number, bytes: number): Promise<void> {
    await this.#open().discard(offset, bytes)
  }

  /**
   * Makes durable everything that was written before the call.
   *
   * @throws BlockError ENOSPC, EIO: of what was written since the last flush, some may be lost; ENOMEDIUM when closed
   */
  async flush(): Promise<void> {
    await this.#open().flush()
  }

  /**
   * Changes the size; what is added reads as zeroes.
   *
   * @param size the new size, in bytes or as `'2G'`
   * @throws BlockError EINVAL for arguments of other types, and for less than the disk has, unless `shrink` allows it; EPERM if it is read-only, or in use in a way that does not
   *   allow it; ENOTSUP if the format cannot, for a slice, and for images with internal snapshots
   */
  async resize(size: number | string, options: ResizeOptions = {}): Promise<void> {
    const node = this.#open()
    requireOptions(options, 'options', { shrink: requireFlag })
    // QEMU reads a sign as that of a number.
    if (typeof size === 'string' && /^\s*[-+]/.test(size)) throw wrongValue('size', 'the new size', size)
    const wanted = parseOptions(RESIZE, { size }).size
    if (wanted === undefined) requireCount(size, 'size')
    if (wanted! < node.size && !options.shrink)
      throw new BlockError(
        'EINVAL',
        `Parameter 'size' is ${wanted}, and the disk has ${node.size} bytes: { shrink: true } gives up what is beyond`,
      )
    await node.truncate(wanted!)
  }

  /**
   * What the disk holds where: extents in order, without gaps, neighbours of one kind joined. The disk may be written
   * meanwhile: then each range is told as it was at some time during the walk.
   *
   * @throws BlockError EINVAL for wrong options, at the call; while walking, what reading the tables throws, and the reason
   *   of the signal
   */
  extents(options: RangeOptions = {}): AsyncIterableIterator<Extent> {
    const node = this.#open()
    return lateExtents(node, rangeOf(options, node.size), options.signal)
  }

  /**
   * The content as a web stream, which reads a little ahead of its reader. What is written meanwhile may or may not be
   * part of it.
   *
   * @throws BlockError EINVAL for wrong options; ENOMEDIUM when closed. The stream fails with what {@link read} throws, and
   *   with the reason of the signal
   */
  readable(options: ReadableOptions = {}): ReadableStream<Uint8Array<ArrayBuffer>> {
    return readableOf(this.#open(), options)
  }

  /**
   * A web stream into the disk: its chunks, bytes in any form, are written one after the other from `start` on. Closing
   * it flushes the disk. It does not enlarge the disk: a chunk that would go beyond `end` fails with ENOSPC, and nothing
   * of it is written. Aborted, it leaves undefined what its last chunk would have overwritten.
   *
   * @throws BlockError EINVAL for wrong options; EPERM if the disk is read-only; ENOMEDIUM when closed. The stream fails
   *   with what {@link write} and {@link flush} throw, and with the reason of the signal
   */
  writable(options: WritableOptions = {}): WritableStream<Bytes> {
    return writableOf(this.#open(), options)
  }

  /**
   * A part of the disk as a disk of its own, such as a partition: byte 0 is at `start`, and it ends before `end`. It is
   * closed by itself; until then, this disk cannot be closed (EBUSY), and shrinking it cuts off its slices.
   *
   * @param end default: the size of the disk
   * @throws BlockError EINVAL if the part is not inside the disk, or is not a multiple of 512 bytes long; ENOMEDIUM
   */
  async slice(start: number, end: number = this.size): Promise<VirtualDisk> {
    const file = this.#open()
    requireCount(start, 'start')
    requireCount(end, 'end')
    requireWithin(start, end, file.size)
    if ((end - start) % SECTOR !== 0)
      throw new BlockError(
        'EINVAL',
        `Parameter 'end' is ${end}: from ${start}, that is no multiple of ${SECTOR} bytes`,
      )
    const { environment } = this.#parts
    const { readOnly } = file
    const options = { driver: 'raw', offset: start, size: end - start, file, readOnly, discard: 'unmap' }
    return new VirtualDisk({ node: await openNode(environment, options), ownsNode: true, environment })
  }

  /** The snapshots inside the image: save points, for formats that have them (qcow2). */
  get snapshots(): DiskSnapshots {
    const { environment } = this.#parts
    return diskSnapshots({
      node: () => this.#open(),
      load: loadImages,
      diskOf: (node) => new VirtualDisk({ node, ownsNode: true, environment }),
    })
  }

  /** What the image is. @throws BlockError of reading it; EIO if the code for it cannot be loaded */
  async info(): Promise<DiskInfo> {
    const node = this.#open()
    return (await loadImages()).describe(node)
  }

  /**
   * Checks the structure of the image, and repairs it if that is asked for. Requests wait meanwhile.
   *
   * @throws BlockError EINVAL for wrong options; ENOTSUP if the format has no checks (raw); EPERM for a repair of a
   *   read-only disk; the reason of the signal: then some of the repairs are made
   */
  async check(options: DiskCheckOptions = {}): Promise<CheckResult> {
    const node = this.#open()
    return (await loadImages()).checkImage(node, options)
  }

  /**
   * Writes what an overlay holds into its backing file, and empties the overlay. Writes wait meanwhile. Progress is in
   * bytes.
   *
   * @throws BlockError EINVAL for wrong options, and without a backing file; EACCES, EROFS if that cannot be written;
   *   any error of reading and writing; the reason of the signal: then the backing file has some of the content, which
   *   does no harm, and the overlay still has all of it
   */
  async commit(options: JobSettings = {}): Promise<void> {
    const node = this.#open()
    await (await loadImages()).commitImage(node, options)
  }

  /**
   * Gives an overlay another backing file, or none. The content of the disk stays the same: what the two backing files
   * have different is copied into the overlay first, and the image names the new one when that is durable. Writes wait
   * meanwhile. Afterwards the open disk uses the new one. Progress is in bytes of the disk.
   *
   * @param filename the new backing file, as the image is to name it: relative to the image, or absolute; `allow` decides
   *   whether it may be opened. null: none, the image holds everything itself
   * @throws BlockError EINVAL for wrong arguments, and if the new backing file needs the overlay itself; ENOTSUP if the
   *   format has no backing files (raw), and for an image with snapshots inside; EPERM if the disk is read-only; ENOSPC
   *   for a name that the image has no room for; any error of opening, reading and writing; the reason of the signal: in
   *   all these cases the image has its old backing file, and the content is the same
   */
  async rebase(filename: string | null, options: RebaseOptions = {}): Promise<void> {
    const node = this.#open()
    await (await loadImages()).rebaseImage(node, filename, options)
  }

  /**
   * The dirty bitmaps that the image keeps: which parts of the disk were written since a point in time, as an incremental
   * backup needs it.
   */
  get bitmaps(): Bitmaps {
    return diskBitmaps(() => this.#open(), loadImages)
  }

  /**
   * Makes the image file shorter, in place: what lies at its end moves into free clusters nearer its start. The disk can
   * be used meanwhile. Useful where the host cannot give back the space of what was discarded: in pages, on file systems
   * without holes. Progress is in bytes of the file.
   *
   * @returns how long the file was and is, how much was moved, and how much could not be, all in bytes
   * @throws BlockError EINVAL for wrong options; ENOTSUP if the format cannot (raw, qed); EPERM if the disk is read-only;
   *   EIO for an image that has to be repaired first; any error of reading and writing; the reason of the signal: then
   *   what was done is kept, and the content is the same
   */
  async compact(options: JobSettings = {}): Promise<CompactReport> {
    const node = this.#open()
    return (await loadImages()).compactImage(node, options)
  }

  /**
   * Calls `listener` with each event of the disk from now on, at once: `resize`, `corrupt`, `io-error`, `repair`, `warn`,
   * `close`.
   *
   * @returns ends that
   * @throws BlockError EINVAL for another event, and if `listener` is no function
   */
  on<K extends keyof NodeEvents>(event: K, listener: Listener<NodeEvents, K>): () => void {
    requireEvent(event, 'event')
    return this.node.on(event, listener)
  }

  /**
   * Waits for what is in flight, makes everything durable, and closes the image. A disk that was made from an open node
   * leaves that node open. Closing it again does nothing.
   *
   * @throws BlockError EBUSY while slices, or nodes of a graph, use it: it stays open; errors of writing what was not
   *   written yet: then it is closed, and those writes are lost
   */
  async close(): Promise<void> {
    if (this.#isClosed) return
    if (this.#parts.ownsNode) {
      try {
        await this.node.close()
        await this.#parts.image?.close()
      } finally {
        this.#isClosed ||= !this.node.isOpen
      }
      return
    }
    this.#isClosed = true
    if (this.node.isOpen) await this.node.drain()
  }

  /** {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @throws BlockError ENOMEDIUM */
  #open(): Disk {
    if (this.#isClosed) throw closedError(this.node, false)
    return this.node
  }

  /** An array for a read, made only if the disk has that many bytes. @throws BlockError EINVAL, EIO, ENOMEM */
  #room(offset: number, bytes: number): Uint8Array {
    requireCount(offset, 'offset')
    requireCount(bytes, 'bytes')
    if (bytes > this.node.size - offset) throw outsideError(this.node, offset, bytes)
    try {
      return new Uint8Array(bytes)
    } catch (cause) {
      throw new BlockError('ENOMEM', `There is no array of ${bytes} bytes`, { cause })
    }
  }
}
