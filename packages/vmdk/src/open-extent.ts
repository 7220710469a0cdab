/** Opens one extent: its header, its directory, and the footer of a stream. */
import { alignUp, type BlockChild, BlockError, SECTOR, viewOf } from '@vmblock/block-core/driver'
import type { Extent } from './extents/extent.ts'
import { SeSparseExtent } from './extents/se-sparse.ts'
import { SparsePart } from './extents/sparse-extent.ts'
import { ENTRY } from './extents/table-log.ts'
import { FOOTER_BYTES, headerOfFooter } from './format/markers.ts'
import { checkSeVolatile, isSeSparse, parseSeHeader } from './format/se-sparse.ts'
import {
  COWD_MAGIC,
  isAtEnd,
  MAGIC,
  magicOf,
  parseCowdHeader,
  parseSparseHeader,
  type SparseHeader,
} from './format/sparse-header.ts'
import type { Parent } from './parent.ts'

/** Bytes that are read at once in the search for a footer. */
const PIECE = 2 ** 20
/** Bytes that are converted at once. */
const ENTRIES = 2 ** 18

/** The first sector of a file, with zeroes behind its end. */
export async function firstSector(file: BlockChild): Promise<Uint8Array> {
  const sector = new Uint8Array(SECTOR)
  await file.read(0, sector)
  return sector
}

/** Whether a file begins like a sparse extent. */
export const isSparse = (sector: Uint8Array): boolean =>
  [MAGIC, COWD_MAGIC].includes(magicOf(sector)) || isSeSparse(sector)

/**
 * Opens a sparse extent of any kind.
 *
 * @param sector the first of the file
 * @throws BlockError in QEMU's words for headers that make no sense; errors of the file
 */
export async function openSparse(
  file: BlockChild,
  sector: Uint8Array,
  place: Pick<Extent, 'type' | 'start'>,
  parent: Parent,
): Promise<Extent> {
  if (isSeSparse(sector)) return openSeSparse(file, sector, place, parent)
  const magic = magicOf(sector)
  if (magic !== MAGIC && magic !== COWD_MAGIC) throw new BlockError('EFORMAT', 'Image not in VMDK format')
  const header =
    magic === COWD_MAGIC
      ? parseCowdHeader(sector)
      : parseSparseHeader(sector, isAtEnd(sector) ? await footerHeader(file) : sector, file.size)
  const primary = await readDirectory(file, header.directory, header, 'l1')
  const redundant =
    header.redundantDirectory === 0 || header.isStream
      ? undefined
      : await readDirectory(file, header.redundantDirectory, header, 'l1 backup')
  return new SparsePart(place, file, header, { primary, redundant }, parent)
}

async function readDirectory(
  file: BlockChild,
  offset: number,
  { directoryEntries }: SparseHeader,
  what: string,
): Promise<Uint32Array> {
  const bytes = directoryEntries * ENTRY
  // So a small file cannot make us take much memory.
  if (offset + bytes > alignUp(file.size, SECTOR))
    throw new BlockError(
      'EINVAL',
      `Could not read ${what} table from extent '${file.node.filename}': it is not inside the file`,
    )
  const directory = new Uint32Array(directoryEntries)
  for (let done = 0; done < directoryEntries; done += ENTRIES) {
    const piece = new Uint8Array(Math.min(ENTRIES, directoryEntries - done) * ENTRY)
    await file.read(offset + done * ENTRY, piece)
    const view = viewOf(piece)
    for (let i = 0; i < piece.length / ENTRY; i++) directory[done + i] = view.getUint32(i * ENTRY, true)
  }
  return directory
}

/**
 * The header in the last footer of a stream. It is the end of the file; behind one that was written when power failed, something may
 * follow that nothing refers to.
 *
 * @throws BlockError EINVAL if there is none, so the stream was cut off
 */
async function footerHeader(file: BlockChild): Promise<Uint8Array> {
  let end = alignUp(file.size, SECTOR)
  while (end >= FOOTER_BYTES) {
    const start = Math.max(0, end - PIECE)
    const bytes = new Uint8Array(end - start)
    await file.read(start, bytes)
    for (let at = bytes.length - FOOTER_BYTES; at >= 0; at -= SECTOR) {
      const header = headerOfFooter(bytes.subarray(at, at + FOOTER_BYTES))
      if (header) return header
    }
    if (start === 0) break
    // A footer may lie across the border.
    end = start + FOOTER_BYTES - SECTOR
  }
  throw new BlockError('EINVAL', 'Invalid footer')
}

async function openSeSparse(
  file: BlockChild,
  sector: Uint8Array,
  place: Pick<Extent, 'type' | 'start'>,
  parent: Parent,
): Promise<Extent> {
  const header = parseSeHeader(sector)
  const second = new Uint8Array(SECTOR)
  await file.read(header.volatile, second)
  checkSeVolatile(second)
  const bytes = header.directoryEntries * 8
  if (header.directory + bytes > alignUp(file.size, SECTOR))
    throw new BlockError(
      'EINVAL',
      `Could not read l1 table from extent '${file.node.filename}': it is not inside the file`,
    )
  const directory = new Uint8Array(bytes)
  for (let at = 0; at < bytes; at += PIECE)
    await file.read(header.directory + at, directory.subarray(at, at + PIECE))
  return new SeSparseExtent(place, file, header, directory, parent)
}
