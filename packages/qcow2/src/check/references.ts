/** How often each host cluster is referred to, as a check counts it: refcount blocks in memory, where needed. */
import { BlockError, type CheckReport } from '@vmblock/block-core'
import type { Image } from '../image.ts'

/** A check under way. */
export interface Check {
  readonly image: Image
  readonly result: CheckReport
  readonly references: References
  /** Corruptions may be repaired. */
  readonly fixErrors: boolean
  readonly fixLeaks: boolean
  /** The refcount structure cannot be repaired in place. */
  rebuild: boolean
  report(line: string): void
}

/** An empty result. */
export const emptyReport = (): CheckReport => ({
  corruptions: 0,
  leaks: 0,
  corruptionsFixed: 0,
  leaksFixed: 0,
  checkErrors: 0,
})

/** Offsets and sizes as QEMU prints them. */
export const hex = (value: number): string => value.toString(16)

/** A 64-bit word as QEMU prints it. */
export const hexWord = (hi: number, lo: number): string =>
  hi === 0 ? hex(lo) : hex(hi) + hex(lo).padStart(8, '0')

/**
 * Counts references, in blocks of the shape they have on disk, so that a rebuild can write them out. Memory
 * grows with the clusters that are referred to, not with what a header claims.
 */
export class References {
  readonly #image: Image
  readonly #blocks = new Map<number, Uint8Array>()
  /** One more than the highest cluster that belongs to the file or is referred to. */
  clusters: number

  constructor(image: Image) {
    this.#image = image
    this.clusters = fileClusters(image)
  }

  /** The block of that index, if a cluster in its range was ever referred to. */
  block(index: number): Uint8Array | undefined {
    return this.#blocks.get(index)
  }
  /** Indexes of all blocks, in order. */
  get blockIndexes(): number[] {
    return [...this.#blocks.keys()].sort((a, b) => a - b)
  }

  get(cluster: number): number {
    const { refblockEntries } = this.#image.geometry
    const block = this.#blocks.get(Math.floor(cluster / refblockEntries))
    return block ? this.#image.refcounts.get(block, cluster % refblockEntries) : 0
  }

  set(cluster: number, value: number): void {
    const { refblockEntries, clusterSize } = this.#image.geometry
    const index = Math.floor(cluster / refblockEntries)
    let block = this.#blocks.get(index)
    if (!block) {
      block = new Uint8Array(clusterSize)
      this.#blocks.set(index, block)
    }
    this.#image.refcounts.set(block, cluster % refblockEntries, value)
    if (cluster >= this.clusters) this.clusters = cluster + 1
  }

  /** First of `count` clusters that nothing refers to, from `from` on, at the end of the file if need be; marks them. */
  allocate(count: number, from: number): number {
    let found = 0
    let cluster = from
    while (found < count) {
      found = this.get(cluster) === 0 ? found + 1 : 0
      cluster++
    }
    for (let i = cluster - count; i < cluster; i++) this.set(i, 1)
    return cluster - count
  }

  /** Forgets everything: the structures have changed and are counted again. */
  clear(): void {
    this.#blocks.clear()
    this.clusters = fileClusters(this.#image)
  }
}

const fileClusters = (image: Image): number => Math.ceil(image.file.size / image.geometry.clusterSize)

/** QEMU's limit on what a check takes on: clusters counted by a C int. */
const MAX_CLUSTERS = 2 ** 31 - 1

/** @throws BlockError EFBIG */
export function refuseHugeFile(image: Image): void {
  if (fileClusters(image) > MAX_CLUSTERS)
    throw new BlockError('EFBIG', 'the image file has too many clusters to be checked', {
      node: image.settings.nodeName,
    })
}

/** Counts one reference to every cluster that [offset, offset + bytes) touches. */
export function countReference(check: Check, offset: number, bytes: number): void {
  const { image, references, result } = check
  const { clusterSize } = image.geometry
  if (bytes <= 0) return
  // The last cluster may be cut short, since nobody has to write all of it.
  if (offset + bytes - image.file.size >= clusterSize) {
    check.report(
      `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${hex(offset)} size 0x${hex(bytes)}`,
    )
    result.corruptions++
    return
  }
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) {
    const count = references.get(cluster)
    if (count === image.refcounts.max) {
      check.report(`ERROR: overflow cluster offset=0x${hex(cluster * clusterSize)}`)
      check.report(
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
      )
      result.corruptions++
      continue
    }
    references.set(cluster, count + 1)
  }
}
