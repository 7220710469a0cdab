/**
 * Every rule of which write must reach the disk before which, and all of lazy refcounts.
 *
 *     allocate   refcount  ->  L2 entry          (lazy: dirty bit -> L2 entry, once; refcounts whenever)
 *     data       ->  L2 entry   if the cluster holds copies of old data, or held something else before, or is compressed,
 *                or if the guest's range showed something else than zeroes before: it may show that or the new data
 *     new table  refcount, and zeroes or a copy  ->  L1 entry   (with the next flush, also in lazy mode)
 *     free       L2 entry  ->  refcount          (frees.ts: the refcount waits for a flush of the entry)
 *     length     of the file  ->  L2 entry   (else a lost write leaves an entry that points past the end; if
 *                refcounts come first, their flush is enough)
 *     close      everything -> clean dirty bit
 *
 * `->` is a flush of the file in between. A crash at any moment leaves refcounts that are too high (leaks)
 * but none that is too low, unless the dirty bit is set.
 */
import type { TableCache } from '@vmblock/block-core/driver'

/** The part of an open image that write ordering needs. */
export interface Ordered {
  readonly l2Tables: TableCache
  readonly refblocks: TableCache
  /** Guest data lies in another file, whose flushes are its own. */
  readonly hasDataFile: boolean
  /** Refcount updates may be postponed: the runtime option, else the header's bit. */
  readonly lazyRefcounts: boolean
  readonly dirtyBit: {
    /** The bit is on disk: refcounts may lag, a repair recomputes them. */
    readonly isSet: boolean
    /** Sets it and flushes, once. */
    set(): Promise<void>
  }
  readonly fileLength: {
    /** The file durably reaches `end` (host bytes). */
    isCovered(end: number): boolean
    /** Makes the file durably reach `end` (host bytes); false if it cannot grow. Grows it in large steps. */
    cover(end: number): Promise<boolean>
  }
  /** Makes completed writes to the image file durable. */
  flushFile(): Promise<void>
  /** L1 entries in memory point at new tables, and were not written yet. */
  readonly hasNewTables: boolean
  /** Writes these entries. */
  writeNewTables(): Promise<void>
}

/**
 * Orders writes before an L2 entry points at newly allocated clusters, which end at `hostEnd`.
 *
 * @param dataFirst the data must be durable before the entry: the clusters hold copies of old data, or were
 *   used before, and their former contents must not appear to the guest; or they are compressed, and half a stream is
 *   no cluster
 * @param replaces the same if no flush comes in between anyway: the guest's range showed old content until now
 * @returns undefined, nothing to await, nearly always
 */
export function beforeLink(
  image: Ordered,
  hostEnd: number,
  dataFirst: boolean,
  replaces = false,
): Promise<void> | undefined {
  const covered = image.fileLength.isCovered(hostEnd)
  if (image.dirtyBit.isSet ? !covered : image.lazyRefcounts)
    return beforeLazyLink(image, hostEnd, dataFirst || replaces)
  // The flush between refcounts and entry makes the length of the file durable, too. If there is no such
  // flush, because the refcounts are durable already (or lag), the length must be durable already, or the
  // data must come first.
  const isUnordered = image.dirtyBit.isSet || image.refblocks.isDurable
  const waits = isUnordered ? undefined : image.l2Tables.follow(image.refblocks)
  const isApart = isUnordered || image.hasDataFile
  if (dataFirst || (replaces && isApart) || (isUnordered && !covered)) image.l2Tables.followData()
  return waits
}

async function beforeLazyLink(image: Ordered, hostEnd: number, dataFirst: boolean): Promise<void> {
  // If the bit cannot be set, refcounts are ordered as in an eager image.
  if (!image.dirtyBit.isSet) await image.dirtyBit.set().catch(() => undefined)
  if (!image.dirtyBit.isSet) await image.l2Tables.follow(image.refblocks)
  const covered = !image.dirtyBit.isSet || (await image.fileLength.cover(hostEnd))
  if (dataFirst || !covered) image.l2Tables.followData()
}

/**
 * Called when a new L2 table has its contents on disk, and its refcount in the cache. The refcounts of tables
 * do not lag in a lazy image, though they might: so a crash leaves uncounted references to data clusters, and
 * nothing else (as in QEMU, whose test 039 expects it).
 */
export async function beforeNewTable(image: Ordered): Promise<void> {
  if (image.lazyRefcounts) await image.refblocks.writeBack()
}

/** Called before the header points at a new L1 table, whose contents have been written. */
export async function beforeActivate(image: Ordered): Promise<void> {
  await image.refblocks.writeBack()
  await image.flushFile()
}

/** Writes everything that a guest flush must write before the file flush that ends it. */
export async function writeCaches(image: Ordered): Promise<void> {
  if (image.hasNewTables) await writeNewTables(image)
  await image.l2Tables.writeBack()
  if (!image.dirtyBit.isSet) await image.refblocks.writeBack()
}

/**
 * Writes the L1 entries of new L2 tables. Each of these tables already holds zeroes or copied contents on
 * disk; its new entries may be written later.
 */
async function writeNewTables(image: Ordered): Promise<void> {
  await image.l2Tables.flushDependencies()
  if (!image.dirtyBit.isSet) await image.refblocks.writeBack()
  await image.flushFile()
  await image.writeNewTables()
}

/** Makes everything durable that must be so before the dirty bit is cleared. */
export async function beforeClean(image: Ordered): Promise<void> {
  await writeCaches(image)
  await image.refblocks.writeBack()
  await image.flushFile()
}
