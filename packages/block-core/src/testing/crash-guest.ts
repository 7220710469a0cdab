/**
 * A guest that remembers what it wrote, and knows what a disk may show after a power cut: every sector is as
 * it was at the last completed flush, or as something written later left it.
 */
import { SECTOR } from '../bits.ts'
import type { WriteLog } from '../drivers/write-log.ts'
import type { BlockNode } from '../node.ts'

/** One content that a sector had, or was about to have. */
interface Version {
  /** First bytes of the sector, which tell all versions apart; 0: zeroes. */
  readonly stamp: number
  /** Ticks of the log's clock: the request was made, and had completed (Infinity: never). */
  readonly made: number
  done: number
  /** A write-through node made it durable before it completed; discards it does not. */
  readonly forced: boolean
}

/** Records what is done to a node, and judges what is left of it. */
export class CrashGuest {
  readonly #node: BlockNode
  readonly #log: WriteLog
  readonly #sectors = new Map<number, Version[]>()
  readonly #flushes: { readonly made: number; readonly done: number }[] = []
  /** Every write is durable when it completes. */
  readonly #writeThrough: boolean
  #stamp: number

  /** @param lastStamp what guests before this one may have written ends here, and is not taken for its own */
  constructor(node: BlockNode, log: WriteLog, lastStamp = 0) {
    this.#stamp = lastStamp
    this.#node = node
    this.#log = log
    this.#writeThrough = !node.config.writeCache
  }

  /** Writes a pattern nobody wrote before. Offsets and lengths are multiples of 512 bytes. */
  async write(offset: number, bytes: number): Promise<void> {
    const stamp = ++this.#stamp
    const data = patternOf(offset, bytes, stamp)
    await this.#record(offset, bytes, stamp, this.#writeThrough, () => this.#node.write(offset, data))
  }
  /** Zeroes a range. */
  async zero(offset: number, bytes: number, mayUnmap: boolean): Promise<void> {
    const forced = this.#writeThrough
    await this.#record(offset, bytes, 0, forced, () => this.#node.writeZeroes(offset, bytes, { mayUnmap }))
  }
  /** Discards whole clusters: they read as they did, or as zeroes, until a flush settles it. */
  async discard(offset: number, bytes: number): Promise<void> {
    await this.#record(offset, bytes, 0, false, () => this.#node.discard(offset, bytes))
  }
  /** Changes the disk's size: what is cut off reads as it did, or as zeroes, for whoever still sees it. */
  async resize(size: number): Promise<void> {
    const before = this.#node.size
    const run = (): Promise<void> => this.#node.truncate(size)
    if (size < before) await this.#record(size, before - size, 0, false, run)
    else await run()
  }
  async flush(): Promise<void> {
    const made = this.#log.now
    await this.#node.flush()
    this.#flushes.push({ made, done: this.#log.now })
  }
  /** The node was closed: everything is durable. */
  closed(): void {
    this.#flushes.push({ made: this.#log.now, done: this.#log.now })
  }

  async #record(
    offset: number,
    bytes: number,
    stamp: number,
    forced: boolean,
    run: () => Promise<void>,
  ): Promise<void> {
    const version: Version = { stamp, made: this.#log.now, done: Number.POSITIVE_INFINITY, forced }
    for (let sector = offset / SECTOR; sector < (offset + bytes) / SECTOR; sector++) {
      const versions = this.#sectors.get(sector)
      if (versions) versions.push(version)
      else this.#sectors.set(sector, [version])
    }
    await run()
    version.done = this.#log.now
  }

  /**
   * Compares a disk with what it may show if the power went at `moment`.
   *
   * @param base what sectors that were never written show
   * @returns what is wrong, or undefined
   */
  async judge(
    node: BlockNode,
    moment: number,
    base: (offset: number) => number = () => 0,
  ): Promise<string | undefined> {
    const content = new Uint8Array(node.size)
    await node.read(0, content)
    for (let sector = 0; sector < node.size / SECTOR; sector++) {
      const versions = (this.#sectors.get(sector) ?? []).filter(({ made }) => made < moment)
      const allowed = this.#allowed(versions, moment, base(sector * SECTOR))
      const found = stampOf(content, sector * SECTOR)
      if (found === undefined || !allowed.has(found)) {
        return `sector ${sector} (byte ${sector * SECTOR}) shows ${found ?? 'a mixture'}, not one of ${[...allowed].join(', ')}`
      }
    }
    return undefined
  }

  #allowed(versions: readonly Version[], moment: number, base: number): Set<number> {
    const durable = (version: Version): boolean => {
      if (version.forced && version.done < moment) return true
      return this.#flushes.some(({ made, done }) => version.done <= made && done < moment)
    }
    // Everything from the last durable version on; of the requests that overlapped it in time, either may have won.
    let last = -1
    for (const [i, version] of versions.entries()) if (durable(version)) last = i
    const allowed = new Set(versions.slice(Math.max(last, 0)).map(({ stamp }) => stamp))
    if (last < 0) allowed.add(base)
    else
      for (const version of versions.slice(0, last))
        if (version.done > versions[last]!.made) allowed.add(version.stamp)
    return allowed
  }
}

/** Every sector: the stamp, the sector's number, and the stamp again to its end. */
function patternOf(offset: number, bytes: number, stamp: number): Uint8Array {
  const words = new Uint32Array(bytes / 4).fill(stamp)
  for (let i = 1; i < words.length; i += SECTOR / 4) words[i] = (offset + (i - 1) * 4) / SECTOR
  return new Uint8Array(words.buffer)
}

/** The stamp of a sector; undefined when it is not wholly what was written there once. */
function stampOf(content: Uint8Array, at: number): number | undefined {
  const words = new Uint32Array(content.buffer, content.byteOffset + at, SECTOR / 4)
  const stamp = words[0]!
  if (stamp !== 0 && words[1] !== at / SECTOR) return undefined
  for (let i = stamp === 0 ? 1 : 2; i < words.length; i++) if (words[i] !== stamp) return undefined
  return stamp
}
