/**
 * Every rule of what must reach the disk before what, and all of lazy refcounts.
 *
 *     allocate   refcount  ->  L2 entry          (lazy: dirty bit -> L2 entry, once; refcounts whenever)
 *     data       ->  L2 entry   where the cluster holds copies of old data, or did hold something else
 *     new table  refcount, and zeroes or what it takes over  ->  L1 entry   (with the next flush, also in lazy mode)
 *     free       L2 entry  ->  refcount          (frees.ts: the refcount waits for a flush of the entry)
 *     length     of the file  ->  L2 entry   (else a lost write leaves an entry that points past the end; where
 *                refcounts come first, their flush is enough)
 *     close      everything -> clean dirty bit
 *
 * `->` is a host flush in between. A crash at any moment leaves refcounts that are too high (leaks) but none
 * that is too low, unless the dirty bit says so. qcow2-and-qed-format.md section 7; lazy-refcounts.md 1-2.
 */
import type { TableCache } from '@vmblock/block-core'

/** The part of an open image that write ordering needs. */
export interface Ordered {
  readonly l2Tables: TableCache
  readonly refblocks: TableCache
  /** Refcount updates may be postponed: the runtime option, else the header's bit. */
  readonly lazyRefcounts: boolean
  /** The dirty bit is on disk: refcounts may lag, a repair recomputes them. */
  readonly dirty: boolean
  /** Sets the dirty bit and flushes, once. */
  markDirty(): Promise<void>
  /** The file durably reaches `end` (host bytes). */
  isCovered(end: number): boolean
  /** Makes the file durably reach `end` (host bytes); false where its host cannot. Grows it in large steps. */
  coverFile(end: number): Promise<boolean>
  /** Makes what was written to the image file durable. */
  flushFile(): Promise<void>
  /** L1 entries in memory point at tables that those on disk do not point at yet. */
  readonly hasNewTables: boolean
  /** Writes these entries. */
  writeNewTables(): Promise<void>
}

/**
 * Before an L2 entry may point at newly allocated clusters, which end at `hostEnd`. `dataFirst`: without what
 * was written into them they would show something wrong: they hold copies of old data, or the clusters were
 * used before, and what they held then is not the guest's business here.
 *
 * @returns undefined where nothing has to be awaited: nearly always
 */
export function beforeLink(image: Ordered, hostEnd: number, dataFirst: boolean): Promise<void> | undefined {
  const covered = image.isCovered(hostEnd)
  if (image.dirty ? !covered : image.lazyRefcounts) return beforeLazyLink(image, hostEnd, dataFirst)
  // The flush between refcounts and entry makes the length of the file durable, too; where there is none, because
  // the refcounts are durable already, that has to be so already, or the data comes first.
  const isUnordered = image.dirty || image.refblocks.isDurable
  const waits = isUnordered ? undefined : image.l2Tables.follow(image.refblocks)
  if (dataFirst || (isUnordered && !covered)) image.l2Tables.followData()
  return waits
}

async function beforeLazyLink(image: Ordered, hostEnd: number, dataFirst: boolean): Promise<void> {
  // Failing to set the bit is no failure: refcounts just have to be exact then.
  if (!image.dirty) await image.markDirty().catch(() => undefined)
  if (!image.dirty) await image.l2Tables.follow(image.refblocks)
  const covered = !image.dirty || (await image.coverFile(hostEnd))
  if (dataFirst || !covered) image.l2Tables.followData()
}

/**
 * A new L2 table has its contents, and its refcount in the cache. Those of tables do not lag behind in a lazy image,
 * though they might: a crash leaves an entry that is not counted for each cluster of data, and nothing else (as in
 * QEMU, and as its test 039 wants it).
 */
export async function beforeNewTable(image: Ordered): Promise<void> {
  if (image.lazyRefcounts) await image.refblocks.writeBack()
}

/** Before the header may point at a new L1 table, whose contents have been written. */
export async function beforeActivate(image: Ordered): Promise<void> {
  await image.refblocks.writeBack()
  await image.flushFile()
}

/** What a guest flush has to write before the host flush that ends it. */
export async function writeCaches(image: Ordered): Promise<void> {
  if (image.hasNewTables) await writeNewTables(image)
  await image.l2Tables.writeBack()
  if (!image.dirty) await image.refblocks.writeBack()
}

/** New tables hold zeroes, or what they took over, before anything points at them; what is new in them may follow. */
async function writeNewTables(image: Ordered): Promise<void> {
  await image.l2Tables.settle()
  if (!image.dirty) await image.refblocks.writeBack()
  await image.flushFile()
  await image.writeNewTables()
}

/** What has to be durable before the dirty bit may be cleared. */
export async function beforeClean(image: Ordered): Promise<void> {
  await writeCaches(image)
  await image.refblocks.writeBack()
  await image.flushFile()
}
