/**
 * The steps of the process that will be killed: derived by it, and by the judge of what it leaves, from the
 * seed alone.
 * @module
 */

import { createRandom, type Random, type TestedFormat } from '@vmblock/block-core/testing'
import type { CacheMode } from '@vmblock/cli'

/** Bytes of the disk that is written to. Its parts end inside clusters of both sizes. */
export const KILL_DISK = 4 * 2 ** 20
/** Number of requests in flight, each in its own part of the disk. */
export const LANES = 4
/** Bytes that a killed write leaves whole. */
export const SECTOR = 512

/** A step that changes a range of the disk. */
export interface Change {
  readonly kind: 'write' | 'zero' | 'discard'
  readonly offset: number
  readonly length: number
}

/** One step of a lane. A resize keeps all of {@link KILL_DISK}; `size` in bytes. */
export type Step = Change | { readonly kind: 'flush' } | { readonly kind: 'resize'; readonly size: number }

/** The order that the process gets. */
export interface KillOrder extends Pick<TestedFormat, 'discards'> {
  readonly path: string
  readonly format: string
  readonly cache: CacheMode
  readonly aio: string
  readonly cluster: number
  readonly seed: number
}

/** The endless steps of a lane. */
export function* stepsOf(
  { seed, cluster }: Pick<KillOrder, 'seed' | 'cluster'>,
  lane: number,
): Generator<Step> {
  const random = createRandom(seed + lane)
  // The parts meet in the middle of a cluster, so that adjacent lanes copy and link at the same time.
  const start = lane === 0 ? 0 : (lane * KILL_DISK) / LANES + SECTOR
  const end = lane === LANES - 1 ? KILL_DISK : ((lane + 1) * KILL_DISK) / LANES + SECTOR
  for (;;) yield stepIn(random, start, end, cluster)
}

function stepIn(random: Random, start: number, end: number, cluster: number): Step {
  const dice = random.int(0, 20)
  if (dice < 2) return { kind: 'flush' }
  if (start === 0 && random.chance(0.03))
    return { kind: 'resize', size: KILL_DISK + random.int(0, 20) * 64 * 1024 }
  if (dice < 4) {
    const first = Math.ceil(start / cluster)
    const offset = random.int(first, Math.floor(end / cluster)) * cluster
    const length = Math.min(random.int(1, 3) * cluster, Math.floor(end / cluster) * cluster - offset)
    return { kind: 'discard', offset, length }
  }
  const offset = start + random.int(0, (end - start) / SECTOR) * SECTOR
  const longest = random.chance(0.2) ? 200 : 16
  const length = Math.min(random.int(1, longest) * SECTOR, end - offset)
  return { kind: dice < 7 ? 'zero' : 'write', offset, length }
}

/** Fills the sector at `offset` as a write of a lane's step does: every sector of every step is different. */
export function fillSector(sector: Uint8Array, offset: number, lane: number, step: number): void {
  const view = new DataView(sector.buffer, sector.byteOffset, SECTOR)
  for (let at = 0; at < SECTOR; at += 8) {
    view.setUint32(at, offset / SECTOR + 1)
    view.setUint32(at + 4, (lane + 1) * 2 ** 24 + step)
  }
}
