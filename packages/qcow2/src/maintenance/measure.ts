/** How large an image would be: `qemu-img measure`. Rules, order and messages of block/qcow2.c, qcow2_measure. */
import {
  alignUp,
  BlockError,
  divUp,
  isPlain,
  isPowerOfTwo,
  type MeasureContext,
  type MeasureReport,
  StatusCursor,
} from '@vmblock/block-core/driver'
import {
  type Geometry,
  geometryOf,
  MAX_CLUSTER_BITS,
  MIN_CLUSTER_BITS,
  SUBCLUSTERS,
} from '../format/geometry.ts'
import { MAX_L1_BYTES } from '../format/limits.ts'
import { luksAreaBytes } from '../format/luks-area.ts'
import type { CreateOptionValues } from './create-options.ts'

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

const VERSIONS: Readonly<Record<string, 2 | 3>> = { '0.10': 2, '1.1': 3, v2: 2, v3: 3 }
const PREALLOCATIONS = ['off', 'metadata', 'falloc', 'full']

/** What of the options matters. */
interface Wanted {
  readonly version: 2 | 3
  readonly geometry: Geometry
  readonly isAllocated: boolean
  /** Bytes of the area of LUKS. */
  readonly luks: number
}

/**
 * Measures an image that would be made with these options, empty or with the content of an open node.
 *
 * @throws BlockError EINVAL for wrong options; EFBIG; any error of the source
 */
export async function measure({
  options,
  source,
}: MeasureContext<CreateOptionValues>): Promise<MeasureReport> {
  const { version, geometry, isAllocated, luks } = wantedOf(options)
  const { clusterSize, l2Entries } = geometry
  const size = alignUp(source ? source.size : (options.size ?? 0), clusterSize)
  if (divUp(size / clusterSize, l2Entries) * 8 > MAX_L1_BYTES)
    throw new BlockError('EFBIG', 'The image size is too large (try using a larger cluster size)')
  // It is not known how much of the chain the new image would share.
  const isWhole = isAllocated || (source !== undefined && options.backing_file !== undefined)
  const data = isWhole ? size : source ? await dataBytes(source, clusterSize) : 0
  const metadata = metadataBytes(geometry, size) + alignUp(luks, clusterSize)
  const bitmaps = source && version >= 3 ? await bitmapBytes(source, clusterSize) : undefined
  return {
    requiredBytes: metadata + data,
    fullyAllocatedBytes: metadata + size,
    ...(bitmaps !== undefined && { bitmapBytes: bitmaps }),
  }
}

function wantedOf(options: CreateOptionValues): Wanted {
  const { cluster_size: clusterSize, extended_l2: extendedL2, refcount_bits: bits, preallocation } = options
  const [min, max] = [2 ** MIN_CLUSTER_BITS, 2 ** MAX_CLUSTER_BITS]
  if (!isPowerOfTwo(clusterSize) || clusterSize < min || clusterSize > max)
    throw invalid(`Cluster size must be a power of two between ${min} and ${max / 1024}k`)
  if (extendedL2 && clusterSize < min * SUBCLUSTERS)
    throw invalid(
      `Extended L2 entries are only supported with cluster sizes of at least ${min * SUBCLUSTERS} bytes`,
    )
  if (!PREALLOCATIONS.includes(preallocation ?? 'off'))
    throw invalid(`invalid parameter value: ${preallocation}`)
  const { compat = '1.1' } = options
  const version = Object.hasOwn(VERSIONS, compat) ? VERSIONS[compat]! : undefined
  if (version === undefined) throw invalid(`Invalid compatibility level: '${compat}'`)
  if (bits > 64 || !isPowerOfTwo(bits))
    throw invalid('Refcount width must be a power of two and may not exceed 64 bits')
  if (version < 3 && bits !== 16)
    throw invalid(
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)',
    )
  return {
    version,
    geometry: geometryOf(Math.log2(clusterSize), Math.log2(bits), extendedL2),
    isAllocated: preallocation === 'falloc' || preallocation === 'full',
    luks: options['encrypt.format'] === 'luks' ? luksBytes(options) : 0,
  }
}

function luksBytes(options: CreateOptionValues): number {
  if (options['encrypt.key-secret'] === undefined)
    throw invalid("Parameter 'encrypt.key-secret' is required for cipher")
  return luksAreaBytes(options['encrypt.cipher-alg'], options['encrypt.cipher-mode'])
}

/** Bytes of the tables of an image whose clusters are all allocated; `size` in bytes, whole clusters. */
function metadataBytes(geometry: Geometry, size: number): number {
  const { clusterSize, refblockEntries, l2Entries } = geometry
  const l2Tables = divUp(size / clusterSize, l2Entries)
  const l1Clusters = divUp(l2Tables * 8, clusterSize)
  const counted = 1 + l2Tables + l1Clusters + size / clusterSize
  let [blocks, tables] = [0, 0]
  for (let before = -1; before !== blocks + tables; ) {
    before = blocks + tables
    blocks = divUp(counted + before, refblockEntries)
    tables = divUp(blocks * 8, clusterSize)
  }
  return (1 + l2Tables + l1Clusters + blocks + tables) * clusterSize
}

/** Bytes of the clusters in which a node, with its backing files, has data. */
async function dataBytes(source: MeasureContext<unknown>['source'] & object, clusterSize: number) {
  const cursor = new StatusCursor(source)
  let bytes = 0
  for (let at = 0; at < source.size; ) {
    const status = await cursor.at(at, source.size - at)
    let end = at + status.bytes
    if (!status.zero && status.data && status.allocated) {
      // A cluster that was begun is taken whole.
      end = alignUp(end, clusterSize)
      bytes += (at % clusterSize) + end - at
    }
    at = end
  }
  return bytes
}

/** Bytes that copies of a source's bitmaps would take; undefined if it cannot have any. */
async function bitmapBytes(source: MeasureContext<unknown>['source'] & object, clusterSize: number) {
  const { type, data } = (await source.info()).formatSpecific ?? {}
  if (type !== 'qcow2' || data?.['compat'] === '0.10') return undefined
  let [bytes, directory] = [0, 0]
  for (const bitmap of Array.isArray(data?.['bitmaps']) ? data['bitmaps'] : []) {
    if (!isPlain(bitmap)) continue
    const { name, granularity, flags } = bitmap
    // A broken one is not copied.
    if (Array.isArray(flags) && flags.includes('in-use')) continue
    const clusters = divUp(divUp(divUp(source.size, Number(granularity)), 8), clusterSize)
    bytes += clusters * clusterSize + alignUp(clusters * 8, clusterSize)
    directory += alignUp(BITMAP_ENTRY + new TextEncoder().encode(String(name)).length, 8)
  }
  return bytes + alignUp(directory, clusterSize)
}

/** Bytes of a directory entry of a bitmap, without its name. */
const BITMAP_ENTRY = 24
