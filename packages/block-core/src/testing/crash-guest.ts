/**
 * A guest that remembers what it wrote, and knows what its disk may show after a power cut: every sector is as
 * it was at the last completed flush, or as a later write left it.
 */
import { SECTOR } from '../base/bits.ts'
import { isBlockError } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import type { TruncateOptions, WriteFlags } from '../contract/requests.ts'
import { Disk } from '../disk/disk.ts'
import type { WriteLog } from '../drivers/write-log.ts'
import { snapshotsOf } from '../features/snapshots.ts'
import { type CommitOptions, commitNode } from '../jobs/commit.ts'
import { rebaseNode } from '../jobs/rebase.ts'
import { type ReopenOptions, reopenNode } from '../open/reopen.ts'
import {
  areSameSnapshots,
  isSameShown,
  readShown,
  readStamps,
  type Shown,
  type ShownSnapshot,
  Stamps,
  stampedSectors,
  stampText,
} from './crash-shown.ts'

/** A content that a sector, or a size that the disk, had or was about to get. */
interface Version {
  /** A stamp, or a size in bytes. */
  value: number
  /** When the request was made, and when it completed (Infinity: never), in ticks of the log's clock. */
  readonly made: number
  done: number
  /** Durable on completion; other versions need a flush. */
  readonly forced: boolean
  /** Visible at most while the request runs. */
  readonly isPassing?: boolean
}

/** What a disk may show at a moment. */
interface Allowed {
  readonly moment: number
  readonly sizes: ReadonlySet<number>
  /** The stamps allowed in each sector that was ever written; all other sectors are as they were at first. */
  readonly sectors: ReadonlyMap<number, ReadonlySet<number>>
}

/** How a guest starts. */
export interface CrashGuestOptions {
  /** The initial content of the disk. Default: zeroes, and the size of the node. */
  readonly before?: Shown | undefined
  /** Default: a counter of its own. */
  readonly stamps?: Stamps | undefined
  /** The guest of the backing file. */
  readonly below?: CrashGuest | undefined
}

/** Records requests to a node, and judges what a crash leaves. Ranges are multiples of 512 bytes. */
export class CrashGuest {
  /** To be replaced after closing it and opening another on the same disk. */
  node: BlockNode
  readonly #log: WriteLog
  readonly #stamps: Stamps
  readonly #before: Shown
  readonly #below: CrashGuest | undefined
  readonly #sectors = new Map<number, Version[]>()
  readonly #sizes: Version[] = []
  readonly #flushes: { readonly made: number; readonly done: number }[] = []
  #allowed: Allowed | undefined
  readonly #lists: {
    readonly made: number
    done: number
    readonly snapshots: readonly ShownSnapshot[]
  }[] = []
  readonly #replacements: { readonly made: number; done: number; readonly to: Shown }[] = []

  constructor(node: BlockNode, log: WriteLog, options: CrashGuestOptions = {}) {
    this.node = node
    this.#log = log
    this.#stamps = options.stamps ?? new Stamps()
    this.#before = options.before ?? { size: node.size, stamps: new Uint32Array(0) }
    this.#below = options.below
  }

  /** Bytes. */
  get size(): number {
    return this.node.size
  }
  /** Whether every write is durable on completion. */
  get #writeThrough(): boolean {
    return this.node instanceof Disk && !this.node.writeCache
  }

  /** Writes a pattern that was not written before. */
  async write(offset: number, bytes: number, flags: WriteFlags = {}): Promise<void> {
    const stamp = this.#stamps.next()
    const data = stampedSectors(offset, bytes, stamp)
    const versions = this.#begin(offset, bytes, () => stamp, {
      forced: this.#writeThrough || flags.fua === true,
    })
    await this.node.write(offset, data, flags)
    this.#end(versions)
  }
  /** Writes a pattern compressed; where a cluster has content already, which cannot be replaced so, as it is. */
  async writeCompressed(offset: number, bytes: number): Promise<void> {
    const stamp = this.#stamps.next()
    const data = stampedSectors(offset, bytes, stamp)
    const versions = this.#begin(offset, bytes, () => stamp, { forced: this.#writeThrough })
    await this.node.writeCompressed(offset, data).catch((error: unknown) => {
      if (!isBlockError(error, 'EIO')) throw error
      return this.node.write(offset, data)
    })
    this.#end(versions)
  }
  /** Zeroes a range. */
  async zero(offset: number, bytes: number, mayUnmap: boolean): Promise<void> {
    const versions = this.#begin(offset, bytes, () => 0, { forced: this.#writeThrough })
    await this.node.writeZeroes(offset, bytes, { mayUnmap })
    this.#end(versions)
  }
  /** Discards a range: whether it then reads as zeroes or as before, it must stay that way. */
  async discard(offset: number, bytes: number): Promise<void> {
    const versions = this.#begin(offset, bytes, () => 0, { forced: false })
    await this.node.discard(offset, bytes)
    this.#end(versions)
    const stamps = await readStamps(this.node, offset, bytes)
    for (const [i, version] of versions.entries()) version.value = stamps[i]!
  }
  /**
   * Changes the disk's size, durably. The part that is cut off is gone forever; until completion it may show
   * the content of the backing file.
   */
  async resize(size: number, options: TruncateOptions = {}): Promise<void> {
    await this.resizing(size, () => this.node.truncate(size, options))
  }
  /** Like {@link resize}, with `run` in place of a truncation. */
  async resizing(size: number, run: () => Promise<void>): Promise<void> {
    const cut = Math.max(this.size - size, 0)
    const below = (sector: number): number => this.#below?.latest(sector) ?? 0
    const versions = [
      ...this.#begin(size, cut, below, { forced: true, isPassing: true }),
      ...this.#begin(size, cut, () => 0, { forced: true }),
      this.#beginSize(size),
    ]
    await run()
    this.#end(versions)
  }
  /** Flushes: all earlier writes are durable afterwards. */
  async flush(): Promise<void> {
    await this.flushing(() => this.node.flush())
  }
  /** Like {@link flush}, for other operations that make all earlier writes durable. */
  async flushing(run: () => Promise<void>): Promise<void> {
    const made = this.#log.tick()
    await run()
    this.#flushes.push({ made, done: this.#log.tick() })
  }
  /** Reopens the node with other options. */
  async reopen(options: ReopenOptions): Promise<void> {
    await this.flushing(() => reopenNode(this.node, options))
  }
  /** Shuts the node down cleanly. */
  async close(): Promise<void> {
    await this.flushing(() => this.node.close())
  }
  /**
   * Commits into the image below, whose guest is given. Data is durable there before it is dropped here; so
   * once this image has been emptied, everything is durable.
   */
  async commit(below: CrashGuest, options: CommitOptions = {}): Promise<void> {
    const { size, stamps } = await readShown(this.node)
    const versions = below.#begin(0, size, (sector) => stamps[sector]!, { forced: true })
    if (size > below.size) versions.push(below.#beginSize(size))
    const run = (): Promise<void> => commitNode(this.node, { ...options, base: below.node })
    await (options.makeEmpty !== false && this.node.can('makeEmpty') ? this.flushing(run) : run())
    below.#end(versions)
  }
  /** Gives the image another backing file, or none. What it shows, and what is durable, stays the same. */
  async rebase(filename: string | null): Promise<void> {
    await this.flushing(() => rebaseNode(this.node, { filename }))
  }
  /** Empties the image, so that the backing file shows through, durably. */
  async makeEmpty(): Promise<void> {
    const shown = (sector: number): number => this.#below?.latest(sector) ?? 0
    const versions = this.#begin(0, this.size, shown, { forced: true })
    await this.node.makeEmpty()
    this.#end(versions)
  }

  /** Makes a snapshot, durably. Its name must be new. */
  async createSnapshot(name: string): Promise<void> {
    const { size, stamps } = await readShown(this.node)
    await this.#listing([...this.#snapshots, { name, size, stamps }], async () => {
      await snapshotsOf(this.node).create(name)
    })
  }
  /** Deletes a snapshot, durably. */
  async deleteSnapshot(name: string): Promise<void> {
    const left = this.#snapshots.filter((snapshot) => snapshot.name !== name)
    await this.#listing(left, () => snapshotsOf(this.node).delete(name))
  }
  /** Applies a snapshot, durably: a power cut leaves all of the old content or all of the new one. */
  async applySnapshot(name: string): Promise<void> {
    const to = this.#snapshots.find((snapshot) => snapshot.name === name)!
    const made = this.#log.tick()
    const stampOf = (sector: number): number => to.stamps[sector] ?? 0
    const replacement = { made, done: Number.POSITIVE_INFINITY, to }
    this.#replacements.push(replacement)
    const versions = [
      ...this.#begin(0, Math.max(this.size, to.size), stampOf, { forced: true }),
      this.#beginSize(to.size),
    ]
    await this.flushing(() => snapshotsOf(this.node).apply(name))
    this.#end([...versions, replacement])
  }
  /** The names of the snapshots, in order. */
  get snapshotNames(): readonly string[] {
    return this.#snapshots.map(({ name }) => name)
  }

  get #snapshots(): readonly ShownSnapshot[] {
    return this.#lists[this.#lists.length - 1]?.snapshots ?? this.#before.snapshots ?? []
  }

  /** Runs what changes the list of snapshots, and makes all earlier writes durable. */
  async #listing(snapshots: readonly ShownSnapshot[], run: () => Promise<void>): Promise<void> {
    const list = { made: this.#log.tick(), done: Number.POSITIVE_INFINITY, snapshots }
    this.#lists.push(list)
    await this.flushing(run)
    this.#end([list])
  }

  /** Notes that from now on, the sectors of a range may get new content. */
  #begin(
    offset: number,
    bytes: number,
    stampOf: (sector: number) => number,
    kind: Pick<Version, 'forced' | 'isPassing'>,
  ): Version[] {
    const versions: Version[] = []
    const made = this.#log.tick()
    for (let sector = offset / SECTOR; sector < (offset + bytes) / SECTOR; sector++) {
      const version = { value: stampOf(sector), made, done: Number.POSITIVE_INFINITY, ...kind }
      versions.push(version)
      const all = this.#sectors.get(sector)
      if (all) all.push(version)
      else this.#sectors.set(sector, [version])
    }
    return versions
  }

  /** @internal The stamp of a sector, if nothing is in flight. */
  latest(sector: number): number {
    const versions = this.#sectors.get(sector) ?? []
    return versions.findLast(({ isPassing }) => !isPassing)?.value ?? this.#before.stamps[sector] ?? 0
  }

  #beginSize(size: number): Version {
    const version = { value: size, made: this.#log.tick(), done: Number.POSITIVE_INFINITY, forced: true }
    this.#sizes.push(version)
    return version
  }

  #end(versions: readonly { done: number }[]): void {
    const done = this.#log.tick()
    for (const version of versions) version.done = done
  }

  /** Reads a disk, and compares it with what it may show after a power cut at `moment`. */
  async judge(node: BlockNode, moment: number): Promise<string | undefined> {
    return this.compare(await readShown(node), moment)
  }

  /**
   * Compares with what the disk may show after a power cut at `moment`.
   *
   * @returns what is wrong, or undefined
   */
  compare(shown: Shown, moment: number): string | undefined {
    const { size, stamps } = shown
    if (!this.#listsAt(moment).some((list) => areSameSnapshots(list, shown.snapshots)))
      return `its snapshots are ${(shown.snapshots ?? []).map(({ name }) => name).join(', ') || 'none'}, or have other contents`
    const mixed = this.#replacements.some(
      ({ made, done, to }) =>
        made < moment &&
        moment <= done &&
        !isSameShown({ size, stamps }, { size: to.size, stamps: to.stamps }) &&
        this.compare(shown, made) !== undefined,
    )
    if (mixed) return 'it shows parts of the old content and of the applied snapshot'
    if (this.#allowed?.moment !== moment) this.#allowed = this.#allowedAt(moment)
    const { sizes, sectors } = this.#allowed
    if (!sizes.has(size)) return `its size is ${size}, not ${[...sizes].join(' or ')}`
    for (let sector = 0; sector < stamps.length; sector++) {
      const found = stamps[sector]!
      const allowed = sectors.get(sector)
      if (allowed ? allowed.has(found) : found === (this.#before.stamps[sector] ?? 0)) continue
      const expected = [...(allowed ?? [this.#before.stamps[sector] ?? 0])].map(stampText).join(', ')
      return `sector ${sector} (byte ${sector * SECTOR}) shows ${stampText(found)}, not one of ${expected}`
    }
    return undefined
  }

  /** The lists of snapshots that there may be. */
  #listsAt(moment: number): (readonly ShownSnapshot[])[] {
    const lists = [
      { snapshots: this.#before.snapshots ?? [], done: 0 },
      ...this.#lists.filter(({ made }) => made < moment),
    ]
    return lists.slice(lists.findLastIndex(({ done }) => done < moment)).map(({ snapshots }) => snapshots)
  }

  #allowedAt(moment: number): Allowed {
    // Requests that completed before this tick are covered by a flush.
    let covered = 0
    for (const { made, done } of this.#flushes) if (done < moment) covered = Math.max(covered, made)
    const sectors = new Map<number, ReadonlySet<number>>()
    for (const [sector, versions] of this.#sectors) {
      const values = allowedOf(versions, moment, covered, this.#before.stamps[sector] ?? 0)
      sectors.set(sector, values)
    }
    const sizes = allowedOf(this.#sizes, moment, covered, this.#before.size)
    return { moment, sizes, sectors }
  }
}

function allowedOf(all: readonly Version[], moment: number, covered: number, before: number): Set<number> {
  const versions = all.filter(({ made, done, isPassing }) => made < moment && (!isPassing || done >= moment))
  const isDurable = ({ forced, done }: Version): boolean => done < (forced ? moment : covered)
  // Everything from the last durable version on; and earlier versions that overlapped it in time, since
  // either may win.
  const last = versions.findLastIndex(isDurable)
  const allowed = new Set(versions.slice(Math.max(last, 0)).map(({ value }) => value))
  if (last < 0) allowed.add(before)
  else
    for (const version of versions.slice(0, last))
      if (version.done > versions[last]!.made) allowed.add(version.value)
  return allowed
}
