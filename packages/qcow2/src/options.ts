/** Runtime options, spelled as QEMU's `BlockdevOptionsQcow2`, and what follows from them. */
import { BlockError, bool, isPowerOfTwo, type OptionValues, size } from '@vmblock/block-core'
import { Compatible } from './format/features.ts'
import type { Geometry } from './format/geometry.ts'
import type { Header } from './format/header.ts'
import type { ImageSettings } from './image.ts'

/** The option table of the driver. */
export const runtimeOptions = {
  lazyRefcounts: bool('Postpone refcount updates'),
  passDiscardRequest: bool('Pass guest discard requests to the layer below'),
  passDiscardSnapshot: bool('Generate discard requests when snapshot related space is freed'),
  passDiscardOther: bool('Generate discard requests when other clusters are freed'),
  cacheSize: size('Maximum combined metadata (L2 tables and refcount blocks) cache size'),
  l2CacheSize: size('Maximum L2 table cache size'),
  l2CacheEntrySize: size('Size of each entry in the L2 cache'),
  refcountCacheSize: size('Maximum refcount block cache size'),
} as const

/** Options a reopen may change. */
export const MUTABLE_OPTIONS = [
  'lazyRefcounts',
  'passDiscardRequest',
  'passDiscardSnapshot',
  'passDiscardOther',
] as const

/** Parsed runtime options. */
export type RuntimeOptions = OptionValues<typeof runtimeOptions>

/** QEMU's default and least sizes of the caches, in bytes (block/qcow2.h). */
const MAX_L2_CACHE = 32 * 2 ** 20
const MIN_REFCOUNT_TABLES = 4
/** Bytes of a cache slice: 512 L2 entries, or 2048 refcounts of 16 bits, come in with one small read. */
const SLICE = 4096

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** What an image is opened with. @throws BlockError EINVAL for sizes that contradict each other */
export function resolveSettings(
  context: Pick<ImageSettings, 'nodeName' | 'filename' | 'readOnly' | 'checkMode'> & {
    readonly unmap: boolean
  },
  options: RuntimeOptions,
  header: Header,
  geometry: Geometry,
): ImageSettings {
  const { nodeName, filename, readOnly, checkMode } = context
  const sliceSize = options.l2CacheEntrySize ?? Math.min(geometry.clusterSize, SLICE)
  if (!isPowerOfTwo(sliceSize) || sliceSize < 512 || sliceSize > geometry.clusterSize)
    throw invalid(
      `L2 cache entry size must be a power of two between 512 and the cluster size (${geometry.clusterSize})`,
    )
  return {
    nodeName,
    filename,
    readOnly,
    checkMode,
    sliceSize,
    ...cacheSizes(options, header, geometry),
    ...mutableSettings(options, header, context.unmap),
  }
}

/** The settings that a reopen may change. @throws BlockError EINVAL for lazy refcounts in version 2 */
export function mutableSettings(
  options: RuntimeOptions,
  header: Header,
  unmap: boolean,
): Pick<ImageSettings, 'lazyRefcounts' | 'passDiscard'> {
  const lazyRefcounts = options.lazyRefcounts ?? (header.compatible & Compatible.lazyRefcounts) !== 0n
  if (lazyRefcounts && header.version < 3)
    throw invalid('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level')
  return {
    lazyRefcounts,
    passDiscard: {
      request: options.passDiscardRequest ?? unmap,
      snapshot: options.passDiscardSnapshot ?? true,
      other: options.passDiscardOther ?? false,
    },
  }
}

/** QEMU's `read_cache_sizes`: a total, its parts, or defaults. Bytes. */
function cacheSizes(
  { cacheSize, l2CacheSize, refcountCacheSize }: RuntimeOptions,
  header: Header,
  { clusterSize, l2EntrySize }: Geometry,
): Pick<ImageSettings, 'l2CacheSize' | 'refcountCacheSize'> {
  const leastRefcounts = MIN_REFCOUNT_TABLES * clusterSize
  // More than all L2 tables of the image would be of no use.
  const allTables = Math.max(Math.ceil(header.size / clusterSize) * l2EntrySize, clusterSize)
  if (cacheSize === undefined) {
    return {
      l2CacheSize: Math.min(l2CacheSize ?? MAX_L2_CACHE, Math.max(allTables, 2 * clusterSize)),
      refcountCacheSize: refcountCacheSize ?? leastRefcounts,
    }
  }
  if (l2CacheSize !== undefined && refcountCacheSize !== undefined)
    throw invalid('cache-size, l2-cache-size and refcount-cache-size may not be set at the same time')
  if (l2CacheSize !== undefined && l2CacheSize > cacheSize)
    throw invalid('l2-cache-size may not exceed cache-size')
  if (refcountCacheSize !== undefined && refcountCacheSize > cacheSize)
    throw invalid('refcount-cache-size may not exceed cache-size')
  if (l2CacheSize !== undefined) return { l2CacheSize, refcountCacheSize: cacheSize - l2CacheSize }
  if (refcountCacheSize !== undefined)
    return { l2CacheSize: cacheSize - refcountCacheSize, refcountCacheSize }
  const forTables = Math.min(allTables, Math.max(cacheSize - leastRefcounts, 0))
  return { l2CacheSize: forTables, refcountCacheSize: cacheSize - forTables }
}
