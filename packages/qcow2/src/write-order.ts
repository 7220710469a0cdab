/**
 * Every rule of what must reach the disk before what, and all of lazy refcounts.
 *
 *     allocate   refcount  ->  L2 entry          (lazy: dirty bit -> L2 entry, once; refcounts whenever)
 *     data       ->  L2 entry   where the cluster holds copies of old data, or did hold something else
 *     new table  refcount, table contents -> L1 entry   (written and flushed, also in lazy mode)
 *     free       L2 entry  ->  refcount          (frees.ts: the refcount waits for a flush of the entry)
 *     lazy       length of the file -> L2 entry  (else a lost write leaves an entry that points past the end; in an
 *                eager image the refcount's flush covers it, if the file was made so long before)
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
  /** Makes the file durably reach `end` (host bytes); false where its host cannot. Grows it in large steps. */
  coverFile(end: number): Promise<boolean>
  /** Makes what was written to the image file durable. */
  flushFile(): Promise<void>
}

/**
 * Before an L2 entry may point at newly allocated clusters, which end at `hostEnd`. `dataFirst`: without what
 * was written into them they would show something wrong: they hold copies of old data, or the clusters were
 * used before, and what they held then is not the guest's business here.
 */
export async function beforeLink(image: Ordered, hostEnd: number, dataFirst: boolean): Promise<void> {
  // Failing to set the bit is no failure: refcounts just have to be exact then.
  if (image.lazyRefcounts && !image.dirty) await image.markDirty().catch(() => undefined)
  if (!image.dirty) await image.l2Tables.follow(image.refblocks)
  const covered = !image.dirty || (await image.coverFile(hostEnd))
  if (dataFirst || !covered) image.l2Tables.followData()
}

/**
 * Before an L1 entry may point at a new L2 table, or the header at a new L1 table, whose contents have been
 * written: both, and the refcounts of their clusters, are made durable. Tables are rare enough to be eager.
 */
export async function beforeActivate(image: Ordered): Promise<void> {
  await image.refblocks.writeBack()
  await image.flushFile()
}

/** What a guest flush has to write before the host flush that ends it. */
export async function writeCaches(image: Ordered): Promise<void> {
  await image.l2Tables.writeBack()
  if (!image.dirty) await image.refblocks.writeBack()
}

/** What has to be durable before the dirty bit may be cleared. */
export async function beforeClean(image: Ordered): Promise<void> {
  await image.l2Tables.writeBack()
  await image.refblocks.writeBack()
  await image.flushFile()
}
