/** The markers of streams, a sector each: what follows, and how long it is. */
import { type Layout, layout, le, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { AT_END, HEADER, MAGIC } from './sparse-header.ts'

/** What a marker of metadata announces. */
export const Marker = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const

const grainFields = {
  /** Guest sector. */
  sector: le.flags64(0),
  /** Bytes of the zlib stream behind the marker; never 0. */
  bytes: le.u32(8),
}

/** The marker of a grain: its data follows at once, and ends with the sector. */
export const GRAIN_MARKER: Layout<typeof grainFields> = layout('VMDK grain marker', 12, grainFields)

/** Bytes of a footer: its marker, the header, and the end of the stream. */
export const FOOTER_BYTES = 3 * SECTOR

/** A marker of metadata. @param sectors of what follows */
export function metadataMarker(type: number, sectors: number): Uint8Array {
  const sector = new Uint8Array(SECTOR)
  const view = viewOf(sector)
  view.setUint32(0, sectors, true)
  view.setUint32(12, type, true)
  return sector
}

/** Whether a sector is a marker of metadata of this type. */
function isMarker(sector: Uint8Array, type: number): boolean {
  const view = viewOf(sector)
  return view.getUint32(8, true) === 0 && view.getUint32(12, true) === type
}

/** The header in a footer; undefined if these three sectors are none. */
export function headerOfFooter(sectors: Uint8Array): Uint8Array | undefined {
  const header = sectors.subarray(SECTOR, 2 * SECTOR)
  if (!isMarker(sectors.subarray(0, SECTOR), Marker.footer)) return undefined
  const { magic, directory } = HEADER.read(header)
  if (magic !== MAGIC || directory === AT_END) return undefined
  const end = sectors.subarray(2 * SECTOR)
  return isMarker(end, Marker.endOfStream) && viewOf(end).getUint32(0, true) === 0 ? header : undefined
}

/** A footer: the header of the file, with the directory at `directory` (bytes). */
export function footerOf(header: Uint8Array, directory: number): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES)
  bytes.set(metadataMarker(Marker.footer, 1))
  bytes.set(header.subarray(0, SECTOR), SECTOR)
  HEADER.fields.directory.set(viewOf(bytes), SECTOR, BigInt(directory / SECTOR))
  return bytes
}
