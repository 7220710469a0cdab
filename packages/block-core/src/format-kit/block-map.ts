/**
 * A disk of equal blocks, each of which lies in one piece in the image file, or nowhere: what VDI, VHD, VHDX and
 * Parallels have in common. A format says where blocks lie, where a new one goes, and how its table is written.
 *
 * The order is the same for all of them. A new block is filled first. Its entry stays in memory until a flush, which
 * makes the data durable, then has the entries written, and makes them durable. So a power cut leaves entries whose data
 * is there, and at most a block that no entry names.
 */
import { BlockError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import type { BlockChild, BlockStatus } from '../contract/node.ts'
import { backingIsZero, readBacking } from './backing.ts'
import { writeWithCopies } from './copy-on-write.ts'

/** In {@link BlockMapFormat.offsets}: the block lies nowhere, and shows the backing file, or zeroes. */
export const NO_BLOCK = 0
/** In {@link BlockMapFormat.offsets}: the block lies nowhere, and shows zeroes, whatever is below. */
export const ZERO_BLOCK = 1

/** The place of a new block. */
export interface NewBlock {
  /** Host offset of its data, in bytes. */
  readonly offset: number
  /** Its bytes were never written, and are inside the file: they read as zeroes. */
  readonly zeroed: boolean
}

/** What a format tells {@link BlockMap}. All offsets and sizes are bytes. */
export interface BlockMapFormat {
  readonly file: BlockChild
  readonly blockSize: number
  /** Host offset of each block's data, or {@link NO_BLOCK}, {@link ZERO_BLOCK}. The map changes it. */
  offsets: Float64Array
  /** What shows through where there is no block. */
  backing?: BlockChild | undefined
  /** The format can say that a block shows zeroes ({@link ZERO_BLOCK}). */
  readonly hasZeroBlocks?: boolean
  /** Called before the first request that changes anything: marks the image as in use, and the like. */
  beforeWrite?(): Promise<void> | undefined
  /**
   * Finds room for a new block, inside the file. Never called twice at a time.
   *
   * @throws BlockError ENOSPC, EFBIG; then nothing has changed
   */
  allocate(index: number): Promise<NewBlock>
  /** A block could not be filled, so nothing will lie there: the place is free again. */
  giveBack?(place: NewBlock): void
  /**
   * Called at the beginning of a flush that will write entries: what is written here is durable before they are, such as
   * the number of blocks that a header has.
   */
  beforeStore?(): Promise<void>
  /**
   * Writes the entries of these blocks (ascending) to the table, as {@link offsets} has them. Their data is durable; the
   * map flushes the file afterwards. Never called twice at a time.
   */
  store(indexes: readonly number[]): Promise<void>
}

/** Consecutive blocks in the same state; if they hold data, also consecutive in the file. */
interface Run {
  /** Host offset of the first byte; {@link NO_BLOCK} or {@link ZERO_BLOCK} without data. */
  readonly host: number
  readonly bytes: number
}

const isData = (host: number): boolean => host > ZERO_BLOCK

/** The requests of such a disk. Offsets and lengths are bytes of the guest's disk. */
export class BlockMap {
  readonly #format: BlockMapFormat
  /** Entries that are not durable. */
  readonly #changed = new Set<number>()
  /** Entries that a running flush makes durable. */
  #storing: ReadonlySet<number> = new Set()
  readonly #allocation = new Mutex()
  readonly #flushing = new Mutex()
  /** Blocks that are being filled. */
  readonly #filling = new Map<number, Promise<void>>()

  constructor(format: BlockMapFormat) {
    this.#format = format
  }

  /** The run at `offset`, at most `bytes` long. */
  #runAt(offset: number, bytes: number): Run {
    const { blockSize, offsets } = this.#format
    let index = Math.floor(offset / blockSize)
    const within = offset - index * blockSize
    const first = offsets[index]!
    let length = blockSize - within
    let next = isData(first) ? first + blockSize : first
    while (length < bytes && offsets[++index] === next) {
      length += blockSize
      if (isData(first)) next += blockSize
    }
    return { host: isData(first) ? first + within : first, bytes: Math.min(length, bytes) }
  }

  /** Fills `into` from guest `offset`. */
  read(offset: number, into: Uint8Array): Promise<void> {
    const run = this.#runAt(offset, into.length)
    if (run.bytes === into.length) return this.#readRun(run.host, offset, into)
    return this.#readRuns(offset, into)
  }

  async #readRuns(offset: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const { host, bytes } = this.#runAt(offset + done, into.length - done)
      await this.#readRun(host, offset + done, into.subarray(done, done + bytes))
      done += bytes
    }
  }

  #readRun(host: number, offset: number, into: Uint8Array): Promise<void> {
    const { file, backing } = this.#format
    if (!isData(host)) return readBacking(file, host === NO_BLOCK ? backing : undefined, offset, into)
    const announced = file.debugEvent('read_aio')
    return announced ? announced.then(() => file.read(host, into)) : file.read(host, into)
  }

  /** Writes to blocks in place, and fills new ones. */
  async write(offset: number, from: Uint8Array): Promise<void> {
    await this.#format.beforeWrite?.()
    for (let done = 0; done < from.length; ) {
      const run = this.#runAt(offset + done, from.length - done)
      if (isData(run.host)) {
        const announced = this.#format.file.debugEvent('write_aio')
        if (announced) await announced
        await this.#format.file.write(run.host, from.subarray(done, done + run.bytes))
        done += run.bytes
      } else {
        const bytes = Math.min(run.bytes, this.#restOfBlock(offset + done))
        await this.#fill(offset + done, from.subarray(done, done + bytes))
        done += bytes
      }
    }
  }

  #restOfBlock(offset: number): number {
    const { blockSize } = this.#format
    return blockSize - (offset % blockSize)
  }

  /** Writes into one block that had no data when the request looked. */
  async #fill(offset: number, from: Uint8Array): Promise<void> {
    const index = Math.floor(offset / this.#format.blockSize)
    // Another request may be filling the same block: it has to be there, whole, before this one writes into it.
    for (let other = this.#filling.get(index); other; other = this.#filling.get(index)) await other
    if (isData(this.#format.offsets[index]!)) return this.write(offset, from)
    const filled = this.#fillNew(index, offset, from)
    const ended = filled.then(
      () => {},
      () => {},
    )
    this.#filling.set(index, ended)
    try {
      await filled
    } finally {
      this.#filling.delete(index)
    }
  }

  async #fillNew(index: number, offset: number, from: Uint8Array): Promise<void> {
    const { file, blockSize, offsets, backing } = this.#format
    const below = offsets[index] === NO_BLOCK ? backing : undefined
    const announced = file.debugEvent('cluster_alloc')
    if (announced) await announced
    const place = await this.#allocation.run(() => this.#format.allocate(index))
    const start = index * blockSize
    try {
      await writeWithCopies(
        {
          data: file,
          announceTo: file,
          start,
          end: start + blockSize,
          hostOffset: place.offset,
          zeroed: place.zeroed,
          readsAsZero: (at, bytes) => backingIsZero(below, at, bytes),
          readOld: (at, into) => readBacking(file, below, at, into),
        },
        offset,
        from,
      )
    } catch (error) {
      this.#format.giveBack?.(place)
      throw error
    }
    // The running flush may be about to write this entry, for zeroes: it must not write one whose data is not durable.
    while (this.#storing.has(index)) await this.#flushing.run(() => undefined)
    this.link(index, place.offset)
  }

  /**
   * Says that a block's data lies at `offset` (bytes), or nowhere; the next {@link flush} writes the entry. For a block that
   * is moved: no request runs meanwhile, and its old place stays as it is until then.
   */
  link(index: number, offset: number): void {
    this.#format.offsets[index] = offset
    this.#changed.add(index)
  }

  /** Blocks without data stay without; data is zeroed in place, so that a host with holes gets the space back. */
  async writeZeroes(offset: number, bytes: number, mayUnmap: boolean): Promise<void> {
    await this.#format.beforeWrite?.()
    for (let done = 0; done < bytes; ) {
      const at = offset + done
      const { file } = this.#format
      const run = this.#runAt(at, bytes - done)
      const length = isData(run.host) ? run.bytes : Math.min(run.bytes, this.#restOfBlock(at))
      if (isData(run.host)) await file.writeZeroes(run.host, length, { mayUnmap })
      else await this.#zeroMissing(at, length)
      done += length
    }
  }

  async #zeroMissing(offset: number, bytes: number): Promise<void> {
    const { blockSize, offsets, backing, hasZeroBlocks } = this.#format
    const index = Math.floor(offset / blockSize)
    // A request that is filling the block with other data overlaps with this one, or leaves these bytes as they are.
    for (let other = this.#filling.get(index); other; other = this.#filling.get(index)) await other
    if (isData(offsets[index]!)) return this.writeZeroes(offset, bytes, false)
    if (offsets[index] === ZERO_BLOCK || (await backingIsZero(backing, offset, bytes))) return
    if (hasZeroBlocks && bytes === blockSize) this.link(index, ZERO_BLOCK)
    else await this.#fill(offset, new Uint8Array(bytes))
  }

  /** Advice to the file, where there is data. */
  async discard(offset: number, bytes: number): Promise<void> {
    for (let done = 0; done < bytes; ) {
      const run = this.#runAt(offset + done, bytes - done)
      if (isData(run.host)) await this.#format.file.discard(run.host, run.bytes)
      done += run.bytes
    }
  }

  /** The status of the run at `offset`. */
  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    const { file, backing } = this.#format
    const { host, bytes: length } = this.#runAt(offset, bytes)
    if (isData(host))
      return { bytes: length, allocated: true, data: true, zero: false, host: { child: file, offset: host } }
    const isZero = host === ZERO_BLOCK
    return { bytes: length, allocated: isZero, data: false, zero: isZero || !backing }
  }

  /** Makes everything written so far durable. Data of others is not waited for. */
  flush(): Promise<void> {
    return this.#flushing.run(async () => {
      const { file } = this.#format
      const indexes = [...this.#changed].sort((a, b) => a - b)
      this.#changed.clear()
      this.#storing = new Set(indexes)
      try {
        if (indexes.length > 0) await this.#format.beforeStore?.()
        await file.flush()
        if (indexes.length === 0) return
        await this.#format.store(indexes)
        await file.flush()
      } catch (error) {
        for (const index of indexes) this.#changed.add(index)
        throw error
      } finally {
        this.#storing = new Set()
      }
    })
  }

  /** Whether a flush has entries to write. */
  get hasChanges(): boolean {
    return this.#changed.size > 0
  }
}

/**
 * Host offset behind the last block, and at least `least`: where the next one goes. To be called before the first write:
 * blocks that overlap, or that lie in front of `least`, are refused, so that no write reaches another block or a table.
 *
 * @param stride bytes that a block takes in the file, those in front of its data included
 * @param before bytes of a block that are in front of its data
 * @throws BlockError EINVAL that names the blocks
 */
export function endOfBlocks(offsets: Float64Array, stride: number, least: number, before = 0): number {
  const order: number[] = []
  for (let index = 0; index < offsets.length; index++) if (isData(offsets[index]!)) order.push(index)
  order.sort((a, b) => offsets[a]! - offsets[b]!)
  let end = least
  order.forEach((index, at) => {
    const start = offsets[index]! - before
    if (start < end)
      throw new BlockError(
        'EINVAL',
        at === 0
          ? `block ${index} lies at ${start}, in front of the data, which begins at ${least}`
          : `blocks ${order[at - 1]} and ${index} overlap at ${start}`,
      )
    end = start + stride
  })
  return end
}
