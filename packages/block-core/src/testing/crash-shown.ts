/** The content of a disk, sector by sector, if only stamped sectors are ever written to it. */
import { SECTOR } from '../base/bits.ts'
import type { BlockNode } from '../contract/node.ts'
import { snapshotsOf } from '../features/snapshots.ts'

/** Words of 32 bits in a sector. */
const WORDS = SECTOR / 4
/** The stamp for a sector that does not consist of a single write to it. */
const MIXTURE = 0xffff_ffff
/** Bytes per read. */
const PIECE = 256 * 1024

/** The content of a node. */
export interface Shown {
  /** Bytes. */
  readonly size: number
  /** The stamp of each sector; 0: zeroes; {@link isMixture}: neither. Without a partial sector at the end. */
  readonly stamps: Uint32Array
  /** Its internal snapshots, in order; absent if there are none. */
  readonly snapshots?: readonly ShownSnapshot[]
}

/** The content of an internal snapshot. */
export interface ShownSnapshot extends Shown {
  readonly name: string
}

/** Generates numbers that no sector has yet; one counter for all guests with disks in one chain. */
export class Stamps {
  #last = 0

  next(): number {
    return ++this.#last
  }
}

/** Whether a stamp stands for a sector that does not consist of a single write to it. */
export const isMixture = (stamp: number): boolean => stamp === MIXTURE

/** A stamp, for messages. */
export const stampText = (stamp: number): string =>
  stamp === 0 ? 'zeroes' : isMixture(stamp) ? 'a mixture' : `#${stamp}`

/** Sectors with one stamp: each begins with the stamp and its own number, then repeats the stamp. */
export function stampedSectors(offset: number, bytes: number, stamp: number): Uint8Array {
  const words = new Uint32Array(bytes / 4).fill(stamp)
  for (let i = 1; i < words.length; i += WORDS) words[i] = (offset + (i - 1) * 4) / SECTOR
  return new Uint8Array(words.buffer)
}

/** Reads all of a node, and its snapshots. Sizes and offsets in bytes. */
export async function readShown(node: BlockNode): Promise<Shown> {
  const shown = await readDisk(node)
  const list = node.can('snapshots') ? await node.listSnapshots() : []
  if (list.length === 0) return shown
  const snapshots: ShownSnapshot[] = []
  for (const { id, name } of list) {
    const view = await snapshotsOf(node).open({ id })
    snapshots.push({ name, ...(await readDisk(view)) })
    await view.close()
  }
  return { ...shown, snapshots }
}

async function readDisk(node: BlockNode): Promise<Shown> {
  const { size } = node
  return { size, stamps: await readStamps(node, 0, size - (size % SECTOR)) }
}

/** Whether two contents are equal, snapshots included. */
export function isSameShown(a: Shown, b: Shown): boolean {
  const isSame =
    a.size === b.size &&
    a.stamps.length === b.stamps.length &&
    a.stamps.every((stamp, sector) => stamp === b.stamps[sector])
  return isSame && areSameSnapshots(a.snapshots, b.snapshots)
}

/** Whether the snapshots have the same names, in order, and the same contents. */
export function areSameSnapshots(
  a: readonly ShownSnapshot[] = [],
  b: readonly ShownSnapshot[] = [],
): boolean {
  return a.length === b.length && a.every((each, i) => each.name === b[i]!.name && isSameShown(each, b[i]!))
}

/** A buffer that is currently unused. */
let spare: Uint8Array | undefined

/** Reads whole sectors, and returns their stamps. */
export async function readStamps(node: BlockNode, offset: number, bytes: number): Promise<Uint32Array> {
  const stamps = new Uint32Array(bytes / SECTOR)
  const content = spare ?? new Uint8Array(PIECE)
  spare = undefined
  for (let done = 0; done < bytes; done += PIECE) {
    const piece = content.subarray(0, Math.min(PIECE, bytes - done))
    await node.read(offset + done, piece)
    const words = new Uint32Array(piece.buffer, 0, piece.length / 4)
    for (let at = 0; at < words.length; at += WORDS)
      stamps[(done + at * 4) / SECTOR] = stampAt(words, at, (offset + done + at * 4) / SECTOR)
  }
  spare = content
  return stamps
}

function stampAt(words: Uint32Array, at: number, sector: number): number {
  const stamp = words[at]!
  if (words[at + 1] !== (stamp === 0 ? 0 : sector)) return MIXTURE
  for (let i = at + 2; i < at + WORDS; i++) if (words[i] !== stamp) return MIXTURE
  return stamp
}
