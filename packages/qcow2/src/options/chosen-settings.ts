/** Settings that few openings choose: sizes of the caches, and classes of metadata that are guarded. */
import { BlockError, isPowerOfTwo } from '@vmblock/block-core/driver'
import { CACHED_METADATA, CONSTANT_METADATA, Metadata } from '../format/metadata.ts'
import type { CacheSizes, RuntimeOptions } from './options.ts'

/** The largest number of cache slices, or of clusters of refcounts, that QEMU counts. */
const INT_MAX = 2 ** 31 - 1

/** The templates of `overlap-check`, and the classes of each. */
const OVERLAP_TEMPLATES: Readonly<Record<string, number>> = {
  none: 0,
  constant: CONSTANT_METADATA,
  cached: CACHED_METADATA,
  all: CACHED_METADATA | Metadata.inactiveL2,
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** The classes of a template, switched on or off one by one. @throws BlockError EINVAL */
export function chosenOverlapCheck(options: RuntimeOptions): number {
  const { overlapCheck: given, 'overlapCheck.template': template } = options
  if (given !== undefined && template !== undefined && given !== template)
    throw invalid(
      `Conflicting values for qcow2 options 'overlap-check' ('${given}') and 'overlap-check.template' ('${template}')`,
    )
  const name = given ?? template ?? 'cached'
  let classes = Object.hasOwn(OVERLAP_TEMPLATES, name) ? OVERLAP_TEMPLATES[name] : undefined
  if (classes === undefined)
    throw invalid(
      `Unsupported value '${name}' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all`,
    )
  for (const [key, bit] of Object.entries(Metadata) as [keyof typeof Metadata, number][]) {
    const isOn = options[`overlapCheck.${key}`]
    if (isOn !== undefined) classes = isOn ? classes | bit : classes & ~bit
  }
  return classes
}

/**
 * The sizes that the options ask for, which may be less than the least.
 *
 * @param standard without options
 * @param allTables bytes of all L2 tables of the image: a larger cache would be of no use
 * @throws BlockError EINVAL for sizes that contradict each other, or that QEMU refuses
 */
export function chosenCaches(
  options: RuntimeOptions,
  standard: CacheSizes,
  allTables: number,
  clusterSize: number,
): CacheSizes {
  const sizes = cacheSizes(options, standard, allTables)
  const { l2CacheEntrySize: sliceSize = standard.sliceSize } = options
  if (!isPowerOfTwo(sliceSize) || sliceSize < 512 || sliceSize > clusterSize)
    throw invalid(
      `L2 cache entry size must be a power of two between 512 and the cluster size (${clusterSize})`,
    )
  if (sizes.l2CacheSize / (options.l2CacheEntrySize ?? clusterSize) > INT_MAX)
    throw invalid('L2 cache size too big')
  if (sizes.refcountCacheSize / clusterSize > INT_MAX) throw invalid('Refcount cache size too big')
  return { sliceSize, ...sizes }
}

/** QEMU's `read_cache_sizes`: a total, its parts, or the standard (docs/qcow2-cache.txt). */
function cacheSizes(
  { cacheSize, l2CacheSize, refcountCacheSize }: RuntimeOptions,
  standard: CacheSizes,
  allTables: number,
): Omit<CacheSizes, 'sliceSize'> {
  if (cacheSize === undefined) {
    return {
      l2CacheSize: l2CacheSize === undefined ? standard.l2CacheSize : Math.min(l2CacheSize, allTables),
      refcountCacheSize: refcountCacheSize ?? standard.refcountCacheSize,
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
  const forTables = Math.min(allTables, Math.max(cacheSize - standard.refcountCacheSize, 0))
  return { l2CacheSize: forTables, refcountCacheSize: cacheSize - forTables }
}
