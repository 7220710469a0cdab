/** The entries that refer to clusters: found anew in each piece of the work, since the guest may have changed them. */
import { alignDown, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { entryHi, entryLo, hostOffsetOf, isCopied } from '../format/l2-entry.ts'
import { Metadata } from '../format/metadata.ts'
import type { Image } from '../image/image.ts'
import { inSlice } from '../mapping/slices.ts'
import { BITMAPS, type Reference } from './reference-map.ts'
import type { Roots } from './roots.ts'

/** An entry of a table. */
export interface Entry {
  /** Host offset of the entry, in bytes. */
  readonly at: number
  readonly hi: number
  readonly lo: number
  /** What it refers to: guest data, an L2 table, or data of a bitmap. */
  readonly leadsTo: 'data' | 'table' | 'bitmap'
  /** Guest offset in bytes, for guest data. */
  readonly guest: number
  /** Written with the image's own caches, in their order: entries of the active tables that the image may change. */
  readonly cached: 'l1' | 'l2' | undefined
}

/** Tables that only {@link Entries} writes. */
const OWN =
  Metadata.inactiveL1 |
  Metadata.activeL2 |
  Metadata.inactiveL2 |
  Metadata.snapshotTable |
  Metadata.bitmapDirectory

/** Bytes of a table that are read at once. */
const BLOCK = 4096

/** Looks entries up, and changes them together. For one piece; the caches must be written back before it. */
export class Entries {
  readonly #image: Image
  readonly #roots: Roots
  readonly #blocks = new Map<number, Uint8Array>()
  #changes: { readonly entry: Entry; readonly hi: number; readonly lo: number }[] = []

  constructor(image: Image, roots: Roots) {
    this.#image = image
    this.#roots = roots
  }

  /** The entry of a reference; undefined if there is none any more. @throws the error of the file */
  async find({ root, number }: Reference): Promise<Entry | undefined> {
    if (root >= BITMAPS) {
      const bitmap = this.#roots.bitmaps[root - BITMAPS]
      if (!bitmap || number >= bitmap.tableSize) return undefined
      return this.#fileEntry(bitmap.tableOffset + number * 8, 'bitmap')
    }
    if (number < 0) return this.#l1Entry(root, -1 - number)
    const { l2Entries, l2EntrySize, clusterSize } = this.#image.geometry
    const l1 = await this.#l1Entry(root, Math.floor(number / l2Entries))
    const table = l1 ? hostOffsetOf(l1.hi, l1.lo) : 0
    if (!l1 || table === 0 || table % clusterSize !== 0) return undefined
    const at = table + (number % l2Entries) * l2EntrySize
    const { sliceSize } = this.#image.l2Tables
    const slice = alignDown(at, sliceSize)
    return inSlice(this.#image, slice, ({ view }) => ({
      at,
      hi: view.getUint32(at - slice),
      lo: view.getUint32(at - slice + 4),
      leadsTo: 'data',
      guest: number * clusterSize,
      cached: l1.cached && isCopied(l1.hi) ? 'l2' : undefined,
    }))
  }

  async #l1Entry(root: number, index: number): Promise<Entry | undefined> {
    const table = this.#roots.l1Tables[root]
    if (!table || index >= table.entries) return undefined
    const at = table.offset + index * 8
    if (root > 0) return this.#fileEntry(at, 'table')
    const { view } = this.#image.l1
    const [hi, lo] = [view.getUint32(index * 8), view.getUint32(index * 8 + 4)]
    return { at, hi, lo, leadsTo: 'table', guest: 0, cached: 'l1' }
  }

  async #fileEntry(at: number, leadsTo: Entry['leadsTo']): Promise<Entry> {
    const view = viewOf(await this.#block(at))
    const [hi, lo] = [view.getUint32(at % BLOCK), view.getUint32((at % BLOCK) + 4)]
    return { at, hi, lo, leadsTo, guest: 0, cached: undefined }
  }

  async #block(at: number): Promise<Uint8Array> {
    const start = alignDown(at, BLOCK)
    let block = this.#blocks.get(start)
    if (!block) {
      block = new Uint8Array(BLOCK)
      await this.#image.file.read(start, block)
      this.#blocks.set(start, block)
    }
    return block
  }

  /** Points an entry at another host offset (bytes, cluster aligned), when {@link commit} is called. */
  redirect(entry: Entry, host: number): void {
    const hi = ((entry.hi & 0xff00_0000) | entryHi(host, false)) >>> 0
    this.replace(entry, hi, ((entry.lo & 511) | entryLo(host)) >>> 0)
  }

  /** Gives an entry other words, when {@link commit} is called. */
  replace(entry: Entry, hi: number, lo: number): void {
    this.#changes.push({ entry, hi, lo })
  }

  /**
   * Makes the changes. Afterwards some are on disk, and the next flush writes the others; if it fails, so may be any of
   * them, and nothing that an old or a new entry refers to may be freed.
   *
   * @throws the error of the file
   */
  async commit(): Promise<void> {
    const image = this.#image
    const changes = this.#changes
    this.#changes = []
    await this.#writeDirectly(changes)
    for (const { entry, hi, lo } of changes) {
      if (entry.cached === 'l1') {
        const at = entry.at - image.header.l1TableOffset
        image.l1.view.setUint32(at, hi)
        image.l1.view.setUint32(at + 4, lo)
        image.l1Changed(at / 8)
      } else if (entry.cached === 'l2') {
        const slice = alignDown(entry.at, image.l2Tables.sliceSize)
        await inSlice(image, slice, (table) => {
          table.view.setUint32(entry.at - slice, hi)
          table.view.setUint32(entry.at - slice + 4, lo)
          image.l2Tables.changed(table, entry.at - slice, entry.at - slice + 8)
        })
      }
    }
  }

  /** Entries of tables that no cache writes: of snapshots, and of bitmaps. A sector belongs to one table. */
  async #writeDirectly(changes: readonly { entry: Entry; hi: number; lo: number }[]): Promise<void> {
    const { file, overlaps, l2Tables } = this.#image
    const touched = new Set<number>()
    for (const { entry, hi, lo } of changes) {
      if (entry.cached) continue
      const view = viewOf(await this.#block(entry.at))
      view.setUint32(entry.at % BLOCK, hi)
      view.setUint32((entry.at % BLOCK) + 4, lo)
      touched.add(alignDown(entry.at, SECTOR))
    }
    for (const at of [...touched].sort((a, b) => a - b)) {
      const block = await this.#block(at)
      const announced = file.debugEvent('l2_update')
      if (announced) await announced
      await overlaps.guard(at, SECTOR, OWN)
      await file.write(at, block.subarray(at % BLOCK, (at % BLOCK) + SECTOR))
      l2Tables.drop(alignDown(at, l2Tables.sliceSize), l2Tables.sliceSize)
    }
  }
}
