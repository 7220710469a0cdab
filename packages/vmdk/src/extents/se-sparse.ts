/** Space-efficient sparse extents of ESX, which are only read. */
import {
  type BlockChild,
  BlockError,
  type BlockStatus,
  inParts,
  SECTOR,
  TableCache,
  viewOf,
} from '@vmblock/block-core/driver'
import { grainOf, SE_ENTRIES, SE_GRAIN, type SeGrain, type SeHeader, tableOf } from '../format/se-sparse.ts'
import type { Parent } from '../parent.ts'
import type { Extent } from './extent.ts'

/** Bytes of a piece of a table in the cache: 512 entries. */
const SLICE = 4096
/** Pieces that are kept: those of 8 GiB. */
const SLICES = 4096
/** Bytes of a grain table. */
const TABLE_BYTES = SE_ENTRIES * 8
/** Bytes of the disk that a table describes. */
const COVERAGE = SE_ENTRIES * SE_GRAIN

/** A range of one kind. */
interface Run {
  readonly kind: 'unallocated' | 'zero' | 'data'
  readonly bytes: number
  readonly hostOffset: number
}

/** See the head of this file. */
export class SeSparseExtent implements Extent {
  readonly type: string
  readonly start: number
  readonly bytes: number
  readonly file: BlockChild
  readonly grainSize = SE_GRAIN
  readonly isCompressed = false
  readonly #header: SeHeader
  readonly #directory: DataView
  readonly #parent: Parent
  readonly #tables: TableCache

  /** @param directory the grain directory, as it is on disk */
  constructor(
    place: Pick<Extent, 'type' | 'start'>,
    file: BlockChild,
    header: SeHeader,
    directory: Uint8Array,
    parent: Parent,
  ) {
    this.type = place.type
    this.start = place.start
    this.bytes = header.capacity
    this.file = file
    this.#header = header
    this.#directory = viewOf(directory)
    this.#parent = parent
    this.#tables = new TableCache({
      file,
      sliceSize: SLICE,
      capacity: SLICES,
      tableSize: SECTOR,
      events: { load: 'l2_load', update: 'none' },
      flushData: async () => {},
    })
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    await inParts(into.length, async (done, parts) => {
      const at = offset + done
      const run = await this.#run(at, into.length - done)
      const piece = into.subarray(done, done + run.bytes)
      await parts.add(async () => {
        if (run.kind === 'data') await this.file.read(run.hostOffset, piece)
        else if (run.kind === 'zero') piece.fill(0)
        else await this.#parent.read(this.start + at, piece)
      })
      return run.bytes
    })
  }

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    const run = await this.#run(offset, bytes)
    if (run.kind === 'data') {
      const host = { child: this.file, offset: run.hostOffset }
      return { bytes: run.bytes, allocated: true, data: true, zero: false, host }
    }
    const isZero = run.kind === 'zero'
    return {
      bytes: run.bytes,
      allocated: isZero,
      data: false,
      zero: isZero || !this.#parent.backing,
    }
  }

  async #run(offset: number, bytes: number): Promise<Run> {
    const index = Math.floor(offset / COVERAGE)
    const inTable = offset % COVERAGE
    const table = tableOf(this.#directory, index)
    if (table === undefined)
      return { kind: 'unallocated', bytes: Math.min(bytes, COVERAGE - inTable), hostOffset: 0 }
    const { tables, tablesSize, grains } = this.#header
    const first = Math.floor(inTable / SE_GRAIN)
    const slice = tables + table * TABLE_BYTES + Math.floor((first * 8) / SLICE) * SLICE
    if (!(table * TABLE_BYTES + TABLE_BYTES <= tablesSize) || slice + SLICE > this.file.size)
      throw this.#broken(offset, `The entry of grain table ${index} makes no sense`)
    let found = this.#tables.peek(slice)
    for (; !found; found = this.#tables.peek(slice)) await this.#tables.load(slice)
    let at = first % (SLICE / 8)
    const grain = grainOf(found.view, at)
    if (grain === 'broken') throw this.#broken(offset, 'The entry of a grain makes no sense')
    let length = SE_GRAIN - (offset % SE_GRAIN)
    for (let next: SeGrain = grain; length < bytes && ++at < SLICE / 8; length += SE_GRAIN) {
      next = following(next)
      if (grainOf(found.view, at) !== next) break
    }
    return {
      kind: typeof grain === 'number' ? 'data' : grain,
      bytes: Math.min(bytes, length),
      hostOffset: typeof grain === 'number' ? grains + grain * SE_GRAIN + (offset % SE_GRAIN) : 0,
    }
  }

  #broken(offset: number, message: string): BlockError {
    return new BlockError('EIO', message, { offset: this.start + offset })
  }

  write(): Promise<void> {
    return Promise.reject(noWriting())
  }
  writeZeroes(): Promise<void> {
    return Promise.reject(noWriting())
  }
  async discard(): Promise<void> {}
  async flush(): Promise<void> {}
  drop(): void {
    this.#tables.clear()
  }
  requireWritable(): void {
    throw noWriting()
  }
}

/** The grain that continues a run. */
const following = (grain: SeGrain): SeGrain => (typeof grain === 'number' ? grain + 1 : grain)

const noWriting = (): BlockError =>
  new BlockError('ENOTSUP', 'No write support for seSparse images available')
