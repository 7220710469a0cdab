/** Replays a log: into memory, so that an image that is only read stays as it is, or into the file. */
import { alignDown, alignUp, type BlockChild, BlockError, SECTOR } from '@vmblock/block-core/driver'
import { NO_GUID } from './format/guid.ts'
import type { Header } from './format/header.ts'
import { LOG_SECTOR } from './format/log-entry.ts'
import { REGION_TABLE_OFFSETS, type Region, regionsOverlap } from './format/regions.ts'
import { LogReader, type Source } from './log-search.ts'

/** Largest file that a log may ask for, in bytes: twice the largest disk. */
const MAX_FILE = 2 ** 47
/** Sectors that are replayed in memory at most: as many as the largest block allocation table has. */
const MAX_SECTORS = 131_072

/** A change of the file. Bytes. */
export type Change =
  | { readonly offset: number; readonly data: Uint8Array }
  | { readonly offset: number; readonly zeroes: number }

/** What a log that is not empty asks for. */
export interface Replay {
  /** In order, by entry. The data of one entry is in memory at a time. */
  entries(): AsyncIterable<readonly Change[]>
  /** Bytes that the file needs. */
  readonly fileSize: number
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Where the log of a file is. @throws BlockError EINVAL for a place where it cannot be, ENOTSUP for another version */
export function logPlaceOf(header: Header, file: Source): Region {
  const { logOffset: offset, logLength: length, logVersion } = header
  if (logVersion !== 0) throw new BlockError('ENOTSUP', `VHDX log version ${logVersion} is unknown`)
  if (offset < 2 ** 20 || offset % 2 ** 20 !== 0 || length % 2 ** 20 !== 0)
    throw invalid(`the VHDX log cannot lie at ${offset}-${offset + length}`)
  // A log that was never written may lie in a hole at the end.
  if (header.logGuid !== NO_GUID && length > 0 && offset >= file.size)
    throw invalid(`the VHDX log lies at ${offset}, behind the end of the file (${file.size})`)
  return { offset, length }
}

/**
 * Reads the log.
 *
 * @returns undefined if there is nothing to be replayed
 * @throws BlockError EINVAL if it asks for what cannot be right, before anything is changed; errors of the file
 */
export async function readLog(file: Source, header: Header): Promise<Replay | undefined> {
  const place = logPlaceOf(header, file)
  if (header.logGuid === NO_GUID || place.length === 0) return undefined
  const reader = new LogReader(file, place, header.logGuid)
  const found = await reader.activeSequence()
  if (found.length === 0) return undefined
  let fileSize = file.size
  for (const { flushedOffset, lastOffset } of found) {
    if (flushedOffset > BigInt(alignUp(file.size, SECTOR)))
      throw invalid(
        `the VHDX file has been truncated: it has ${file.size} bytes, and its log says that ${flushedOffset} were written`,
      )
    fileSize = Math.max(fileSize, inBounds(lastOffset))
  }
  const changesOf = async (entry: (typeof found)[number]): Promise<Change[]> =>
    (await reader.changesOf(entry)).map((change): Change => {
      const offset = inBounds(change.offset)
      const length = 'data' in change ? LOG_SECTOR : inBounds(change.zeroes)
      inBounds(BigInt(offset + length))
      if (offset < REGION_TABLE_OFFSETS[0] || regionsOverlap({ offset, length }, place))
        throw invalid(`the VHDX log changes ${offset}-${offset + length}, where it must not`)
      return 'data' in change ? { offset, data: change.data } : { offset, zeroes: length }
    })
  for (const entry of found)
    for (const change of await changesOf(entry)) fileSize = Math.max(fileSize, endOf(change))
  return {
    fileSize,
    async *entries() {
      for (const entry of found) yield await changesOf(entry)
    },
  }
}

const endOf = (change: Change): number =>
  change.offset + ('data' in change ? change.data.length : change.zeroes)

function inBounds(bytes: bigint): number {
  if (bytes <= BigInt(MAX_FILE)) return Number(bytes)
  throw invalid(`the VHDX log needs ${bytes} bytes of the file`)
}

/** Brings a log into the file, and makes it durable. The log still counts; repeating this does no harm. */
export async function replayIntoFile(replay: Replay, file: BlockChild): Promise<void> {
  if (replay.fileSize > file.size) await file.truncate(replay.fileSize)
  for await (const changes of replay.entries())
    for (const change of joined(changes)) await apply(change, file)
  await file.flush()
}

const apply = (change: Change, file: BlockChild): Promise<void> =>
  'data' in change ? file.write(change.offset, change.data) : file.writeZeroes(change.offset, change.zeroes)

/** The same changes, with sectors that are neighbours in one. */
function* joined(changes: readonly Change[]): Iterable<Change> {
  for (let i = 0; i < changes.length; ) {
    const first = changes[i++]!
    if (!('data' in first)) {
      if (first.zeroes > 0) yield first
      continue
    }
    const pieces = [first.data]
    for (; i < changes.length; i++) {
      const next = changes[i]!
      if (!('data' in next) || next.offset !== first.offset + pieces.length * LOG_SECTOR) break
      pieces.push(next.data)
    }
    const data = new Uint8Array(pieces.length * LOG_SECTOR)
    for (const [at, piece] of pieces.entries()) data.set(piece, at * LOG_SECTOR)
    yield { offset: first.offset, data }
  }
}

const ZEROES = new Uint8Array(LOG_SECTOR)

/** A file with a log replayed in memory: sectors that lie over those of the file. */
export class ReplayedFile implements Source {
  readonly size: number
  readonly #file: Source
  /** By host offset. */
  readonly #sectors: ReadonlyMap<number, Uint8Array>

  private constructor(file: Source, size: number, sectors: ReadonlyMap<number, Uint8Array>) {
    this.#file = file
    this.size = size
    this.#sectors = sectors
  }

  /** @throws BlockError EFBIG if the log changes more than fits into memory; errors of the file */
  static async from(replay: Replay, file: Source): Promise<ReplayedFile> {
    const sectors = new Map<number, Uint8Array>()
    const put = (offset: number, data: Uint8Array): void => {
      sectors.set(offset, data)
      if (sectors.size > MAX_SECTORS)
        throw new BlockError('EFBIG', 'the VHDX log is too large to be replayed in memory')
    }
    for await (const changes of replay.entries())
      for (const change of changes) {
        if ('data' in change) put(change.offset, change.data)
        else for (let at = 0; at < change.zeroes; at += LOG_SECTOR) put(change.offset + at, ZEROES)
      }
    return new ReplayedFile(file, replay.fileSize, sectors)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#file.read(offset, into)
    for (let at = alignDown(offset, LOG_SECTOR); at < offset + into.length; at += LOG_SECTOR) {
      const sector = this.#sectors.get(at)
      if (!sector) continue
      const start = Math.max(at, offset)
      const end = Math.min(at + LOG_SECTOR, offset + into.length)
      into.set(sector.subarray(start - at, end - at), start - offset)
    }
  }

  /** Whether the log changes any byte of a range. */
  changes(offset: number, bytes: number): boolean {
    for (const at of this.#sectors.keys()) if (at < offset + bytes && offset < at + LOG_SECTOR) return true
    return false
  }
}
