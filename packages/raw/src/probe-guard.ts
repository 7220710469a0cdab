/**
 * The guard of raw images whose format was probed. A guest that owns such a disk could write the header, or
 * the trailer, of another format, one that names a file of the host; at the next start the image would be
 * probed as that format. So the sectors that identify a format, the first one and the last ones, are judged
 * as they would be after each request, before anything is changed.
 *
 * Only types are imported, so that a page that loads this late does not start with more files.
 */
import type { BlockChild, BlockErrorCode, OpenContext } from '@vmblock/block-core/driver'

const SECTOR = 512

/** QEMU's warning when probing ends with raw, line by line. */
export const probedWarning = (filename: string): readonly string[] => [
  `WARNING: Image format was not specified for '${filename}' and probing guessed raw.`,
  '         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.',
  "         Specify the 'raw' format explicitly to remove the restrictions.",
]

/** The parts of a node that its guard needs. */
export interface GuardedDisk {
  readonly file: BlockChild
  readonly nodeName: string
  readonly otherFormat: OpenContext<unknown>['otherFormat']
  /** Offset in bytes, in a file of `size` bytes, from which on its content may identify a format. */
  tailStart(size: number): number
  /** Makes an error of the disk. */
  fail(code: BlockErrorCode, message: string): Error
}

/** Bytes that a request changes. Offsets are relative to the file; without data they become zeroes. */
interface Change {
  readonly offset: number
  readonly end: number
  readonly data?: Uint8Array
}

const sectorEnd = (size: number): number => Math.ceil(size / SECTOR) * SECTOR

const NOTHING = new Uint8Array(0)
const NO_HEAD = new Uint8Array(SECTOR)

/**
 * Passes requests to a probed image on, or refuses them. Requests that touch identifying sectors run one at a
 * time: two of them, each harmless alone, could make a signature together.
 */
export class ProbeGuard {
  readonly #disk: GuardedDisk
  /** Resolves when the last of the serialized requests has ended. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(disk: GuardedDisk) {
    this.#disk = disk
  }

  /**
   * Passes a write on. A guest may change its memory between the check and the write, so the checked data is
   * copied.
   *
   * @param offset bytes, in the file
   * @throws BlockError EPERM if the image would look like another format
   */
  write(offset: number, from: Uint8Array, run: (data: Uint8Array) => Promise<void>): Promise<void> {
    const end = offset + from.length
    if (!this.#concerns(offset, end)) return run(from)
    const data = from.slice()
    return this.#oneByOne(async () => {
      await this.#judge({ offset, end, data })
      await run(data)
    })
  }

  /**
   * Passes on requests that may write zeroes: zero writes and discards.
   *
   * @throws BlockError EPERM as {@link write}
   */
  clear(offset: number, bytes: number, run: () => Promise<void>): Promise<void> {
    const end = offset + bytes
    if (!this.#concerns(offset, end)) return run()
    return this.#oneByOne(async () => {
      await this.#judge({ offset, end })
      await run()
    })
  }

  /**
   * Passes a resize on, which makes other sectors the last ones. The core runs no other request meanwhile.
   *
   * @throws BlockError EPERM as {@link write}
   */
  async resize(size: number, run: () => Promise<void>): Promise<void> {
    const head = await this.#content(0, Math.min(size, SECTOR), SECTOR)
    for (const end of new Set([size, sectorEnd(size)])) {
      const tail = await this.#content(this.#disk.tailStart(end), Math.min(size, end), end)
      this.#refuse(head, tail, 'resize')
    }
    await run()
  }

  #oneByOne(body: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(body)
    this.#turn = result.catch(() => undefined)
    return result
  }

  #concerns(offset: number, end: number): boolean {
    return offset < SECTOR || end > this.#disk.tailStart(this.#disk.file.size)
  }

  async #judge(change: Change): Promise<void> {
    const { size } = this.#disk.file
    const head = change.offset < SECTOR ? await this.#after(change, 0, SECTOR) : NO_HEAD
    const reached = Math.max(size, change.end)
    // A file that ends within a sector may be filled up by its last write, or not: both must be raw.
    for (const end of new Set([size, reached, sectorEnd(reached)])) {
      const start = this.#disk.tailStart(end)
      const tail = change.end > start ? await this.#after(change, start, end) : NOTHING
      this.#refuse(head, tail, 'write')
    }
  }

  #refuse(head: Uint8Array, tail: Uint8Array, request: string): void {
    const { otherFormat, file, nodeName, fail } = this.#disk
    const other = otherFormat(head, tail)
    if (other === undefined) return
    throw fail(
      'EPERM',
      `the ${request} would make '${file.filename || nodeName}' look like an image in the format ${other}: it was only guessed ` +
        'to be raw; name the format raw to allow it',
    )
  }

  /** The content of [start, end) of the file after a change. */
  async #after({ offset, end: changeEnd, data }: Change, start: number, end: number): Promise<Uint8Array> {
    const isCovered = offset <= start && changeEnd >= end
    const bytes = isCovered ? new Uint8Array(end - start) : await this.#content(start, end, end)
    const [from, to] = [Math.max(start, offset), Math.min(end, changeEnd)]
    if (from >= to) return bytes
    if (data) bytes.set(data.subarray(from - offset, to - offset), from - start)
    else bytes.fill(0, from - start, to - start)
    return bytes
  }

  /** The content of [start, end), with zeroes beyond the end of the file, and then zeroes up to `until`. */
  async #content(start: number, end: number, until: number): Promise<Uint8Array> {
    const { file } = this.#disk
    const bytes = new Uint8Array(Math.max(until - start, 0))
    const there = Math.min(end, file.size) - start
    if (there > 0) await file.read(start, bytes.subarray(0, there))
    return bytes
  }
}
