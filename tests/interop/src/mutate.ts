/**
 * Damages a qcow2 file: refcounts, table entries and flags, at critical offsets.
 * @module
 */
import type { Random } from '@vmblock/block-core/testing'

const COPIED = 1n << 63n
const COMPRESSED = 1n << 62n
const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n

/** Byte offsets of the tables of a file. */
interface Tables {
  readonly clusterSize: number
  readonly extended: boolean
  readonly l1: number
  readonly l1Entries: number
  readonly refcountTable: number
  readonly refcountTableEntries: number
  readonly refcountBits: number
}

/** A file that is being damaged. */
export class Patient {
  bytes: Uint8Array
  /** The damage so far, in words. */
  readonly story: string[] = []
  readonly #tables: Tables

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    const view = this.#view
    const v3 = view.getUint32(4) >= 3
    const clusterSize = 2 ** view.getUint32(20)
    this.#tables = {
      clusterSize,
      extended: v3 && (view.getUint32(76) & 16) !== 0,
      l1: Number(view.getBigUint64(40)),
      l1Entries: view.getUint32(36),
      refcountTable: Number(view.getBigUint64(48)),
      refcountTableEntries: (view.getUint32(56) * clusterSize) / 8,
      refcountBits: v3 ? 2 ** view.getUint32(96) : 16,
    }
  }

  get #view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength)
  }

  /** Does one random damage. */
  damage(random: Random): void {
    const kinds = [
      this.#refcount,
      this.#refcount,
      this.#l2,
      this.#l2,
      this.#l2,
      this.#l1,
      this.#refcountTable,
    ]
    // As often as all others together, if the image has snapshots.
    if (this.#snapshotEntries().length > 0) kinds.push(...kinds.map(() => this.#snapshot))
    const kind = random.chance(0.05) ? this.#length : random.pick(kinds)
    kind.call(this, random)
  }

  #refcount(random: Random): void {
    const { clusterSize, refcountBits } = this.#tables
    const blocks = this.#used(this.#tables.refcountTable, this.#tables.refcountTableEntries)
    if (blocks.length === 0) return
    const block = Number(this.#view.getBigUint64(random.pick(blocks)) & OFFSET_MASK)
    if (block === 0 || block % clusterSize !== 0 || block + clusterSize > this.bytes.length) return
    // Mostly clusters that the file has.
    const clusters = Math.min(
      Math.ceil(this.bytes.length / clusterSize) + 2,
      (clusterSize * 8) / refcountBits,
    )
    const index = random.int(0, clusters)
    const at = block + Math.floor((index * refcountBits) / 8)
    if (refcountBits <= 8) this.#poke(at, random.pick([0, 1, 2, 3, 255, random.int(0, 256)]), 'refcounts')
    else {
      const low = at + refcountBits / 8 - 1
      this.#poke(low, random.pick([0, 0, 1, 2, 3, 200]), `refcount of cluster ${index}`)
    }
  }

  #poke(at: number, value: number, what: string): void {
    this.story.push(`${what}: byte at ${at} from ${this.bytes[at]} to ${value}`)
    this.bytes[at] = value
  }

  #set(at: number, value: bigint, what: string): void {
    const hex = (word: bigint): string => word.toString(16).padStart(16, '0')
    this.story.push(`${what} at ${at} from ${hex(this.#view.getBigUint64(at))} to ${hex(value)}`)
    this.#view.setBigUint64(at, BigInt.asUintN(64, value))
  }

  /** Offsets of the entries that are not zero. */
  #used(table: number, entries: number, step = 8): number[] {
    const found: number[] = []
    for (let at = table; at < table + entries * step && at + 8 <= this.bytes.length; at += step)
      if (this.#view.getBigUint64(at) !== 0n) found.push(at)
    return found
  }

  #l1(random: Random): void {
    const { l1, l1Entries } = this.#tables
    const used = this.#used(l1, l1Entries)
    if (used.length === 0) return
    this.#entry(random, random.pick(used), used, 'L1 entry')
  }

  #l2(random: Random): void {
    const { l1, l1Entries, clusterSize, extended } = this.#tables
    const tables = this.#used(l1, l1Entries)
    if (tables.length === 0) return
    const table = Number(this.#view.getBigUint64(random.pick(tables)) & OFFSET_MASK)
    if (table % clusterSize !== 0 || table + clusterSize > this.bytes.length) return
    const step = extended ? 16 : 8
    const used = this.#used(table, clusterSize / step, step)
    if (used.length === 0) return
    const at = random.pick(used)
    const entry = this.#view.getBigUint64(at)
    const dice = random.next()
    // With extended entries the zero flag has no meaning, and only our check complains about it.
    if (extended && dice < 0.4)
      this.#set(
        at + 8,
        this.#view.getBigUint64(at + 8) ^ (1n << BigInt(random.int(0, 64))),
        'subcluster bitmap',
      )
    else if (!extended && dice < 0.1) this.#set(at, entry ^ 1n, 'L2 zero flag')
    else if (dice > 0.95) this.#set(at, entry ^ COMPRESSED, 'L2 compressed flag')
    else this.#entry(random, at, used, 'L2 entry')
  }

  #entry(random: Random, at: number, others: readonly number[], what: string): void {
    const entry = this.#view.getBigUint64(at)
    const cluster = BigInt(this.#tables.clusterSize)
    const clusters = BigInt(Math.ceil(this.bytes.length / this.#tables.clusterSize))
    const flags = entry & ~OFFSET_MASK
    const changes: (() => bigint)[] = [
      () => entry ^ COPIED,
      () => entry ^ COPIED,
      () => 0n,
      () => this.#view.getBigUint64(random.pick(others)),
      () => entry ^ 512n,
      () => entry | (1n << BigInt(random.int(56, 62))),
      () => entry | (1n << BigInt(random.int(1, 9))),
      () => flags | ((clusters + BigInt(random.int(0, 3))) * cluster),
      () => flags | (1n << BigInt(random.int(40, 56))),
    ]
    // For the same reason no other table is made a table of extended entries.
    if (what === 'L2 entry' || !this.#tables.extended)
      changes.push(
        () => entry & COPIED,
        () => flags | (BigInt(random.int(0, Number(clusters))) * cluster),
      )
    this.#set(at, random.pick(changes)(), what)
  }

  #refcountTable(random: Random): void {
    const { refcountTable, refcountTableEntries, clusterSize } = this.#tables
    const used = this.#used(refcountTable, refcountTableEntries)
    if (used.length === 0) return
    const at = random.pick(used)
    const entry = this.#view.getBigUint64(at)
    const clusters = Math.ceil(this.bytes.length / clusterSize)
    const changes: (() => bigint)[] = [
      () => 0n,
      () => entry ^ 512n,
      () => entry | 1n,
      () => BigInt(random.int(0, clusters) * clusterSize),
      () => BigInt((clusters + random.int(0, 3)) * clusterSize),
    ]
    this.#set(at, random.pick(changes)(), 'refcount table entry')
  }

  /** Offsets of the snapshot table's entries, as far as the table can be parsed. */
  #snapshotEntries(): number[] {
    const view = this.#view
    const entries: number[] = []
    let at = Number(view.getBigUint64(64))
    for (let left = view.getUint32(60); left > 0 && at + 40 <= this.bytes.length; left--) {
      entries.push(at)
      at += 40 + view.getUint32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14)
      at = Math.ceil(at / 8) * 8
    }
    return entries
  }

  #snapshot(random: Random): void {
    const entries = this.#snapshotEntries()
    const at = random.pick(entries)
    const { clusterSize } = this.#tables
    const poke32 = (field: number, value: number, what: string): void => {
      this.story.push(`${what} at ${field} from ${this.#view.getUint32(field)} to ${value}`)
      this.#view.setUint32(field, value)
    }
    const offset = this.#view.getBigUint64(64)
    const changes: (() => void)[] = [
      () =>
        poke32(
          60,
          entries.length + random.pick([-1, -1, 1, 1, 2, 2, 100, 100, 70_000]),
          'number of snapshots',
        ),
      () =>
        this.#set(
          64,
          offset + BigInt(random.pick([8, clusterSize, -clusterSize, 2 ** 40])),
          'snapshot table',
        ),
      () =>
        this.#set(
          at,
          this.#view.getBigUint64(at) ^ BigInt(random.pick([1, 8, 512, clusterSize])),
          'snapshot L1',
        ),
      () => poke32(at + 8, random.pick([0, 1, 2, 600, 2 ** 22, 2 ** 32 - 1]), 'snapshot L1 entries'),
      () => this.#poke(at + 13, random.int(0, 4), 'size of a snapshot id'),
      () => this.#poke(at + 15, random.int(0, 20), 'size of a snapshot name'),
      () => poke32(at + 36, random.pick([0, 8, 16, 17, 24, 32, 1024]), 'extra data of a snapshot'),
      () =>
        poke32(
          at + 36,
          random.pick([1025, 5000, 2 ** 20, 2 ** 31 - 1, 2 ** 32 - 1]),
          'extra data of a snapshot',
        ),
    ]
    random.pick(changes)()
  }

  #length(random: Random): void {
    const { clusterSize } = this.#tables
    const length = Math.max(
      this.bytes.length + random.pick([-1, -0.5, 0.5, 1, 2]) * clusterSize,
      4 * clusterSize,
    )
    const changed = new Uint8Array(length)
    changed.set(this.bytes.subarray(0, length))
    this.story.push(`length from ${this.bytes.length} to ${length}`)
    this.bytes = changed
  }
}
