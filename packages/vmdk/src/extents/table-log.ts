/**
 * The tables of a stream: its directory is found from the footer at its end. Tables that changed, the directory and a new footer are
 * appended; what the last footer says stays as it is until the new one is complete. So a stream that was written without flushes has
 * the form that the specification asks for, and each flush adds tables that a later footer replaces.
 */
import { alignUp, type BlockChild, BlockError, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { FOOTER_BYTES, footerOf, Marker, metadataMarker } from '../format/markers.ts'
import type { SparseHeader } from '../format/sparse-header.ts'

/** Bytes of an entry of a directory, or of a table. */
export const ENTRY = 4

/** The extent whose tables these are. */
interface LoggedExtent {
  readonly file: BlockChild
  readonly header: SparseHeader
  readonly directory: Uint32Array
  readonly tableBytes: number
  append(bytes: number, alignment: number): Promise<number>
}

/** A table in memory. */
interface LogTable {
  readonly view: DataView
  readonly bytes: Uint8Array
}

/** Most bytes of tables that are written at once. */
const PIECE = 2 ** 20

/** See the head of this file. All changes happen under the lock of the extent. */
export class TableLog {
  readonly #extent: LoggedExtent
  /** Tables that were changed since the image was opened. */
  readonly #tables = new Map<number, LogTable>()
  readonly #dirty = new Set<number>()

  constructor(extent: LoggedExtent) {
    this.#extent = extent
  }

  /** A table that is in memory. */
  peek(index: number): LogTable | undefined {
    return this.#tables.get(index)
  }

  /** A table that may be changed. @throws BlockError EIO if it cannot be read */
  async writable(index: number): Promise<LogTable> {
    const known = this.#tables.get(index)
    if (known) return known
    const { directory, file, tableBytes } = this.#extent
    const bytes = new Uint8Array(tableBytes)
    const offset = directory[index]! * SECTOR
    if (offset + tableBytes > alignUp(file.size, SECTOR))
      throw new BlockError('EIO', `Grain table ${index} at ${offset} is outside the file`)
    if (offset > 0) await file.read(offset, bytes)
    const table = { bytes, view: viewOf(bytes) }
    this.#tables.set(index, table)
    return table
  }

  /** A table was changed. */
  changed(index: number): void {
    this.#dirty.add(index)
  }

  /** Appends what changed, and a footer. Runs under the lock. */
  async write(): Promise<void> {
    if (this.#dirty.size === 0) return
    const extent = this.#extent
    const { file, directory, tableBytes, header } = extent
    const each = SECTOR + tableBytes
    const indexes = [...this.#dirty].sort((a, b) => a - b)
    const atOnce = Math.max(1, Math.floor(PIECE / each))
    for (let done = 0; done < indexes.length; done += atOnce) {
      const piece = indexes.slice(done, done + atOnce)
      const bytes = new Uint8Array(piece.length * each)
      const host = await extent.append(bytes.length, SECTOR)
      for (const [i, index] of piece.entries()) {
        bytes.set(metadataMarker(Marker.grainTable, tableBytes / SECTOR), i * each)
        bytes.set(this.#tables.get(index)!.bytes, i * each + SECTOR)
        directory[index] = (host + i * each + SECTOR) / SECTOR
      }
      await file.write(host, bytes)
    }
    const directoryBytes = alignUp(directory.length * ENTRY, SECTOR)
    const bytes = new Uint8Array(SECTOR + directoryBytes)
    bytes.set(metadataMarker(Marker.grainDirectory, directoryBytes / SECTOR))
    const view = viewOf(bytes)
    for (const [i, sector] of directory.entries()) view.setUint32(SECTOR + i * ENTRY, sector, true)
    const host = await extent.append(bytes.length, SECTOR)
    await file.write(host, bytes)
    await file.flush()
    const end = await extent.append(FOOTER_BYTES, SECTOR)
    await file.write(end, footerOf(header.sector, host + SECTOR))
    for (const index of indexes) this.#dirty.delete(index)
  }
}
