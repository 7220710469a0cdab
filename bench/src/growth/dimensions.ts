/** The dimensions of growth: the points of each, how to make an image for a point, and what is measured. */
import { basename, join } from 'node:path'
import { createRandom } from '@vmblock/block-core/testing'
import { createImage, fill, openImage } from '../images.ts'
import type { Measure, Order } from './order.ts'

/** A part of a picture: curves over one scale. */
export interface Panel {
  readonly title: string
  /** Names of figures, and their labels. */
  readonly curves: readonly (readonly [figure: string, label: string])[]
  /** Whether to draw a curve for proportional growth, too. */
  readonly proportional?: boolean
}

/** How to measure QEMU's programs. */
export interface TheirMeasure {
  /** The figure to compare with; ours followed by ` (QEMU)`. */
  readonly figure: string
  /** A stream of requests through `qemu-img bench`, or a whole `qemu-img check` less an idle start. */
  readonly kind: 'bench' | 'check'
  readonly args: readonly string[]
  /** Number of requests. */
  readonly count: number
}

/** One dimension. */
export interface Dimension {
  readonly id: string
  readonly title: string
  /** The meaning of the points. */
  readonly axis: string
  /** Whether each point is a multiple of the one before. */
  readonly isLog: boolean
  readonly points: readonly number[]
  readonly panels: readonly Panel[]
  label(point: number): string
  /** Makes the image. @returns its chain of files, from the top down */
  make(point: number, directory: string): Promise<readonly string[]>
  options?(point: number): Order['options']
  measures(point: number, quick: boolean): readonly Measure[]
  theirs?(point: number, quick: boolean): readonly TheirMeasure[]
}

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const CLUSTER = 64 * KIB

const sizeText = (bytes: number): string => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  return `${bytes / 1024 ** power} ${units[power]}`
}

const QCOW2 = { format: 'qcow2', options: {} } as const

const requestsOf = (quick: boolean): number => (quick ? 256 : 30_000)
const opensOf = (quick: boolean): number => (quick ? 3 : 50)
const memory: Measure = { kind: 'memory', name: 'memory' }

const OFFSETS = 1024
/** The longest step of `qemu-img bench`. */
const MOST_STEP = 2 ** 31 - 1

const size: Dimension = {
  id: 'size',
  title: 'Size of the disk, with data at 1024 offsets',
  axis: 'size of the disk',
  isLog: true,
  points: [1, 8, 64, 512, 4096, 8192].map((gib) => gib * GIB),
  label: sizeText,
  panels: [
    {
      title: 'us, one request of 4 KiB',
      curves: [
        ['read us', 'read'],
        ['read us (QEMU)', 'read, QEMU'],
        ['overwrite us', 'overwrite'],
        ['allocate us', 'allocating write'],
      ],
    },
    {
      title: 'us, opening (best of 50); KiB read',
      curves: [
        ['open us', 'us'],
        ['open KiB', 'KiB'],
      ],
    },
    {
      title: 'requests to the file, one read',
      curves: [
        ['read first reads', 'first'],
        ['read reads', 'again'],
      ],
    },
    { title: 'MiB in memory', curves: [['memory heap', 'while open']] },
  ],
  async make(point, directory) {
    const path = join(directory, 'image')
    await createImage(path, QCOW2, point)
    await fill(path, 'qcow2', { stride: point / OFFSETS, dataBytes: CLUSTER })
    return [path]
  },
  measures(point, quick) {
    const offsets = { count: OFFSETS, stride: point / OFFSETS }
    const requests = requestsOf(quick)
    return [
      { kind: 'open', name: 'open', times: opensOf(quick) },
      { kind: 'read', name: 'read', bytes: 4096, at: offsets, requests },
      memory,
      { kind: 'write', name: 'overwrite', bytes: 4096, at: offsets, requests },
      { kind: 'check', name: 'check' },
      // Twice, so that the code is compiled first.
      ...[1, 2].map(
        (next): Measure => ({
          kind: 'write',
          name: 'allocate',
          bytes: 4096,
          at: { ...offsets, first: next * CLUSTER },
          requests: OFFSETS,
          once: true,
        }),
      ),
    ]
  },
  theirs(point, quick) {
    const step = point / OFFSETS
    if (step > MOST_STEP) return []
    const args = ['-d', '1', '-s', '4096', '-S', String(step)]
    return [{ figure: 'read us', kind: 'bench', args, count: requestsOf(quick) }]
  },
}

const BASE_BYTES = 64 * MIB

const chain: Dimension = {
  id: 'chain',
  title: 'Length of the backing chain, with all data at its bottom',
  axis: 'images in the chain',
  isLog: false,
  points: [1, 2, 5, 10, 20, 30, 40, 50],
  label: String,
  panels: [
    {
      title: 'us, one read of 4 KiB',
      curves: [
        ['read us', 'read'],
        ['read us (QEMU)', 'read, QEMU'],
      ],
    },
    {
      title: 'for one read: images asked, file reads',
      curves: [
        ['read layers', 'images asked'],
        ['read reads', 'reads of files'],
      ],
    },
    { title: 'us, opening all (best of 50)', curves: [['open us', 'opening']] },
    { title: 'MiB in memory', curves: [['memory heap', 'while open']] },
  ],
  async make(point, directory) {
    const paths = Array.from({ length: point }, (_, i) => join(directory, `image-${i}`))
    await createImage(paths[0]!, QCOW2, BASE_BYTES)
    await fill(paths[0]!, 'qcow2')
    for (let i = 1; i < point; i++) {
      const options = { backing_file: basename(paths[i - 1]!), backing_fmt: 'qcow2' }
      await createImage(paths[i]!, { format: 'qcow2', options }, BASE_BYTES)
    }
    return paths.reverse()
  },
  measures(_, quick) {
    const offsets = { count: BASE_BYTES / CLUSTER, stride: CLUSTER }
    return [
      { kind: 'open', name: 'open', times: opensOf(quick) },
      { kind: 'read', name: 'read', bytes: 4096, at: offsets, requests: requestsOf(quick) },
      memory,
    ]
  },
  theirs: (_, quick) => [
    {
      figure: 'read us',
      kind: 'bench',
      args: ['-d', '1', '-s', '4096', '-S', String(CLUSTER)],
      count: requestsOf(quick),
    },
  ],
}

const FRAGMENTED_BYTES = 256 * MIB

/** All clusters in order, except for a share of them that is shuffled. */
export function writeOrder(clusters: number, share: number): number[] {
  const random = createRandom(11)
  const order = Array.from({ length: clusters }, (_, i) => i)
  const moved = order.filter(() => random.int(0, 1000) < share * 1000)
  const targets = [...moved]
  for (let i = targets.length - 1; i > 0; i--) {
    const j = random.int(0, i + 1)
    ;[targets[i], targets[j]] = [targets[j]!, targets[i]!]
  }
  for (const [index, cluster] of moved.entries()) order[cluster] = targets[index]!
  return order
}

const fragmentation: Dimension = {
  id: 'fragmentation',
  title: 'Fragmentation: the share of clusters that lie anywhere in the file',
  axis: 'clusters out of order',
  isLog: false,
  points: [0, 0.1, 0.25, 0.5, 0.75, 1],
  label: (share) => `${share * 100}%`,
  panels: [
    {
      title: 'us, one request of 1 MiB',
      curves: [
        ['large us', 'read'],
        ['large us (QEMU)', 'read, QEMU'],
        ['overwrite us', 'overwrite'],
      ],
    },
    {
      title: 'us, one read of 4 KiB',
      curves: [
        ['small us', 'read'],
        ['small us (QEMU)', 'read, QEMU'],
      ],
    },
    {
      title: 'requests to the file',
      curves: [
        ['large reads', '1 MiB'],
        ['small reads', '4 KiB'],
      ],
    },
    { title: 'MiB in memory', curves: [['memory heap', 'while open']] },
  ],
  async make(share, directory) {
    const path = join(directory, 'image')
    await createImage(path, QCOW2, FRAGMENTED_BYTES)
    const node = await openImage(path, 'qcow2')
    const data = createRandom(1).bytes(CLUSTER)
    for (const cluster of writeOrder(FRAGMENTED_BYTES / CLUSTER, share))
      await node.write(cluster * CLUSTER, data)
    await node.close()
    return [path]
  },
  measures(_, quick) {
    const large = { count: FRAGMENTED_BYTES / MIB, stride: MIB }
    const small = { count: FRAGMENTED_BYTES / CLUSTER, stride: CLUSTER }
    const requests = requestsOf(quick) / 16
    return [
      { kind: 'read', name: 'large', bytes: MIB, at: large, requests },
      { kind: 'write', name: 'overwrite', bytes: MIB, at: large, requests },
      { kind: 'read', name: 'small', bytes: 4096, at: small, requests: requestsOf(quick) },
      memory,
    ]
  },
  theirs: (_, quick) => [
    {
      figure: 'large us',
      kind: 'bench',
      args: ['-d', '1', '-s', String(MIB), '-S', String(MIB)],
      count: Math.ceil(requestsOf(quick) / 16),
    },
    {
      figure: 'small us',
      kind: 'bench',
      args: ['-d', '1', '-s', '4096', '-S', String(CLUSTER)],
      count: requestsOf(quick),
    },
  ],
}

const CACHED_BYTES = 64 * GIB
/** Number of offsets that are read: every 16th cluster, which reads every table slice many times. */
const CACHED_OFFSETS = CACHED_BYTES / CLUSTER / 16

const cache: Dimension = {
  id: 'cache',
  title: 'Size of the L2 cache; 64 GiB read all over, whose L2 tables are 8 MiB',
  axis: 'l2-cache-size',
  isLog: true,
  points: [64 * KIB, 256 * KIB, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB],
  label: sizeText,
  panels: [
    {
      title: 'us, one read of 4 KiB',
      curves: [
        ['read us', 'read'],
        ['read us (QEMU)', 'read, QEMU'],
      ],
    },
    { title: 'requests to the file, one read', curves: [['read reads', 'data and table']] },
    { title: 'MiB in memory', curves: [['memory heap', 'while open']] },
  ],
  async make(_, directory) {
    const path = join(directory, 'image')
    await createImage(path, { format: 'qcow2', options: { preallocation: 'metadata' } }, CACHED_BYTES)
    return [path]
  },
  options: (bytes) => ({ l2CacheSize: bytes }),
  measures: (_, quick) => [
    {
      kind: 'read',
      name: 'read',
      bytes: 4096,
      at: { count: CACHED_OFFSETS / (quick ? 16 : 1), stride: CLUSTER * 16 * (quick ? 16 : 1) },
      requests: requestsOf(quick),
    },
    memory,
  ],
  theirs: (_, quick) => [
    {
      figure: 'read us',
      kind: 'bench',
      // An odd number of steps, far from each other: visits all offsets in a scattered order.
      args: ['-d', '1', '-s', '4096', '-S', String(16 * CLUSTER * 2047)],
      count: requestsOf(quick),
    },
  ],
}

const data: Dimension = {
  id: 'data',
  title: 'Allocated data, as a check sees it',
  axis: 'allocated',
  isLog: true,
  points: [1, 4, 16, 64, 256].map((gib) => gib * GIB),
  label: sizeText,
  panels: [
    {
      title: 'ms, one check',
      curves: [
        ['check ms', 'check'],
        ['check ms (QEMU)', 'check, QEMU'],
      ],
      proportional: true,
    },
    { title: 'MiB of metadata read', curves: [['check MiB', 'read']], proportional: true },
    { title: 'us, opening (best of 50)', curves: [['open us', 'opening']] },
    { title: 'MiB of the process, at most', curves: [['memory peak', 'peak']] },
  ],
  async make(point, directory) {
    const path = join(directory, 'image')
    await createImage(path, { format: 'qcow2', options: { preallocation: 'metadata' } }, point)
    return [path]
  },
  measures: (_, quick) => [
    { kind: 'open', name: 'open', times: opensOf(quick) },
    { kind: 'check', name: 'check' },
    memory,
  ],
  theirs: () => [{ figure: 'check ms', kind: 'check', args: [], count: 1 }],
}

/** All dimensions. */
export const DIMENSIONS: readonly Dimension[] = [size, chain, fragmentation, cache, data]
