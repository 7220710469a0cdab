/**
 * Makes an image file shorter, in place. As many clusters as are in use could lie at the start of the file: those in use
 * behind that end move into the free ones before it, and the file is cut. So each cluster moves once, and no more is
 * written than that and the tables.
 *
 * The work is done in pieces, each complete in itself, between which the guest's requests run. What one piece knew does
 * not hold in the next: entries are found anew, and a cluster moves only if as many entries lead to it as its refcount
 * says. So shared clusters of snapshots move once, with every table that names them, and what the guest changed
 * meanwhile is left for the next pass.
 */
import { BlockError, type CompactReport, type PieceControl } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { shrinkRefcountTable } from '../refcounts/refcount-shrink.ts'
import { trimFile } from '../refcounts/trim-file.ts'
import { quiesceImage } from '../requests/flush.ts'
import { hasOpenSnapshots } from '../snapshots/open-views.ts'
import { movePiece } from './move-clusters.ts'
import { moveRefblocks, moveRuns } from './move-tables.ts'
import { ReferenceMap } from './reference-map.ts'
import { needsRepair } from './roots.ts'
import { scanTables } from './scan.ts'
import { settle } from './settle.ts'
import { countUsed, fileClusters, lastUsed, Targets } from './survey.ts'

/** Passes over the image: what is left by one, because the guest changed it, is for the next. */
const PASSES = 6
/** Clusters whose references are kept in memory at a time. */
const WINDOW = 2 ** 18
/** Bytes and clusters that are moved while requests wait. */
const PIECE = 4 * 2 ** 20
const PIECE_CLUSTERS = 1024
/** Free clusters that are known beyond those of a window: tables need several in a row. */
const SPARE = 2 ** 14

/**
 * Compacts an open image.
 *
 * @throws BlockError EIO if it has to be repaired first; EBUSY while a snapshot of it is open, whose tables are in memory; EPERM, ENOMEDIUM if it was closed meanwhile; the error of the
 *   file; what cancels the job
 */
export async function compactImage(image: Image, control: PieceControl): Promise<CompactReport> {
  const sizeBefore = image.file.size
  const compaction = new Compaction(image, {
    checkpoint: () => control.checkpoint(),
    report: (current, total) => control.report(current, total),
    alone: (run) =>
      control.alone(async () => {
        if (hasOpenSnapshots(image))
          throw new BlockError('EBUSY', 'A snapshot of the image is open', { node: image.settings.nodeName })
        return run()
      }),
  })
  for (let pass = 0; pass < PASSES; pass++) if (!(await compaction.pass())) break
  return { sizeBefore, sizeAfter: image.file.size, ...(await compaction.result()) }
}

/** One call of {@link compactImage}. */
class Compaction {
  readonly #image: Image
  readonly #control: PieceControl
  #moved = 0
  #total = 0

  constructor(image: Image, control: PieceControl) {
    this.#image = image
    this.#control = control
  }

  /** Moves what can be moved, and cuts the file. @returns whether anything was moved */
  async pass(): Promise<boolean> {
    const before = this.#moved
    const end = await this.#control.alone(() => this.#begin())
    let isFull = end === undefined
    for (let top = this.#clusters; !isFull && top > end!; ) {
      const window = await this.#window(end!, top)
      if (!window) break
      isFull = await this.#moveAll(window.map)
      top = window.start
    }
    await this.#control.checkpoint()
    await this.#control.alone(() => this.#finish())
    return this.#moved > before
  }

  async result(): Promise<Pick<CompactReport, 'movedBytes' | 'leftBytes'>> {
    const { clusterSize } = this.#image.geometry
    const left = await this.#control.alone(() =>
      this.#image.lock.run(async () => {
        const used = await countUsed(this.#image, 0, this.#clusters)
        return countUsed(this.#image, used, this.#clusters)
      }),
    )
    this.#control.report(Math.max(this.#moved, this.#total), Math.max(this.#moved, this.#total))
    return { movedBytes: this.#moved, leftBytes: left * clusterSize }
  }

  get #clusters(): number {
    return fileClusters(this.#image)
  }

  /** @returns index of the cluster at which the file could end; undefined if nothing in use is behind that */
  async #begin(): Promise<number | undefined> {
    const image = this.#image
    if (image.dirtyBit.needsRepair) throw needsRepair(image, 'it was not closed, and not repaired')
    await settle(image)
    await quiesceImage(image)
    return image.lock.run(async () => {
      image.freeHint.moveTo(0)
      const end = await countUsed(image, 0, this.#clusters)
      const behind = await countUsed(image, end, this.#clusters)
      this.#total = Math.max(this.#total, this.#moved + behind * image.geometry.clusterSize)
      this.#control.report(this.#moved, this.#total)
      return behind === 0 ? undefined : end
    })
  }

  /** Finds the references to the last clusters of [end, top). The tables in rows are moved first, while there are rows. */
  async #window(end: number, top: number): Promise<{ map: ReferenceMap; start: number } | undefined> {
    const image = this.#image
    const { used, targets } = await this.#control.alone(async () => {
      await settle(image)
      return image.lock.run(async () => {
        const used = await lastUsed(image, end, top, WINDOW)
        return { used, targets: await Targets.find(image, this.#clusters, used.length * 2 + SPARE) }
      })
    })
    if (used.length === 0) return undefined
    const map = new ReferenceMap(used)
    await scanTables({ image, map, targets }, this.#control)
    this.#add(await this.#control.alone(() => moveRuns(image, end, targets)))
    this.#targets = targets
    const { clusters } = map
    // Always lower than before, even if not a single cluster's references fit in memory.
    return { map, start: clusters[0] ?? used[used.length - 1]! }
  }
  #targets: Targets | undefined

  /** Moves the clusters of a window, the last ones first; tables first, since they hold what refers to the others. */
  async #moveAll(map: ReferenceMap): Promise<boolean> {
    const { clusters } = map
    const tables = clusters.filter((cluster) => (map.of(cluster)[0]?.number ?? 0) < 0)
    return (await this.#movePieces(map, tables)) || this.#movePieces(map, clusters)
  }

  async #movePieces(map: ReferenceMap, clusters: Float64Array): Promise<boolean> {
    const image = this.#image
    const step = Math.max(1, Math.min(PIECE_CLUSTERS, PIECE / image.geometry.clusterSize))
    let from = 0
    for (let stop = clusters.length; stop > 0; stop -= step) {
      const piece = clusters.subarray(Math.max(0, stop - step), stop)
      await this.#control.checkpoint()
      const { bytes, isFull } = await this.#control.alone(() => {
        image.freeHint.noteFree(from)
        return movePiece(image, map, piece)
      })
      from = image.freeHint.at
      this.#add(bytes)
      if (isFull) return true
    }
    return false
  }

  #add(bytes: number): void {
    this.#moved += bytes
    this.#total = Math.max(this.#total, this.#moved)
    if (bytes > 0) this.#control.report(this.#moved, this.#total)
  }

  /** Frees the refcount blocks of the end of the file, moves those that are still needed, and cuts the file. */
  async #finish(): Promise<void> {
    const image = this.#image
    await settle(image)
    await quiesceImage(image)
    await image.lock.run(() => shrinkRefcountTable(image))
    await quiesceImage(image)
    if (this.#targets) {
      const end = await image.lock.run(() => countUsed(image, 0, this.#clusters))
      this.#add(await moveRefblocks(image, end, this.#targets))
      await quiesceImage(image)
    }
    await image.lock.run(() => trimFile(image))
    image.isMostlyHoles = undefined
  }
}
