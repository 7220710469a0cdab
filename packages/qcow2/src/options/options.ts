/** Runtime options, spelled as in QEMU's `BlockdevOptionsQcow2`, and the settings derived from them. */
import {
  alignUp,
  BlockError,
  bool,
  integer,
  isPowerOfTwo,
  type OptionType,
  type OptionValues,
  type RawOptions,
  size,
  text,
} from '@vmblock/block-core'
import { Compatible } from '../format/features.ts'
import type { Geometry } from '../format/geometry.ts'
import type { Header } from '../format/header.ts'
import { Metadata, OVERLAP_TEMPLATES } from '../format/metadata.ts'
import type { CacheSettings, ImageSettings } from '../image/image.ts'

/** Whole seconds, up to C's `unsigned int`. */
const cleanInterval: OptionType<number> = {
  ...integer(),
  parse(value, key) {
    const tooBig = new BlockError('EINVAL', 'Cache clean interval too big')
    // Negative numbers count from 2^64 down, and are refused as too large for a number.
    if (/^\s*-\s*0*[1-9]/.test(String(value))) throw tooBig
    const seconds = integer().parse(value, key)
    if (seconds > 0xffff_ffff) throw tooBig
    return seconds
  },
}

/** Clusters: as many as a refcount block covers with the largest clusters and 16-bit refcounts. */
const MAX_RESERVE = 2 ** 20

const refcountReserve: OptionType<number> & { readonly default: number } = {
  ...integer('', 0),
  parse(value, key) {
    const clusters = integer().parse(value, key)
    if (clusters > MAX_RESERVE)
      throw new BlockError('EINVAL', `'${key}' may not exceed ${MAX_RESERVE} clusters`)
    return clusters
  },
}

/** Bytes: enough that flushes for this reason are rare, and too little to fill a disk. */
const FREED_CLUSTERS = 16 * 2 ** 20

/** The option table of the driver. No program prints it, so what the options do is said here: pages load the table. */
export const runtimeOptions = {
  /** Postpone refcount updates. */
  lazyRefcounts: bool(),
  /** Raise the refcounts of this many clusters ahead of their use; 0: none. */
  refcountReserve,
  /** Bytes: flush when more than this much of freed clusters waits for it. */
  freedClustersSize: size('', FREED_CLUSTERS),
  /** Pass guest discards to the layer below; discard there what snapshots, or anything else, gave up. */
  passDiscardRequest: bool(),
  passDiscardSnapshot: bool(),
  passDiscardOther: bool(),
  'encrypt.format': text(),
  /** ID of the secret. */
  'encrypt.keySecret': text(),
  /** Bytes: all metadata in memory, or each kind of tables; and a slice of L2 tables. */
  cacheSize: size(),
  l2CacheSize: size(),
  l2CacheEntrySize: size(),
  refcountCacheSize: size(),
  /** Seconds after which unused tables are dropped from memory. */
  cacheCleanInterval: cleanInterval,
  /** Which structures are guarded against unintended writes: a template, and exceptions from it. */
  overlapCheck: text(),
  'overlapCheck.template': text(),
  'overlapCheck.mainHeader': bool(),
  'overlapCheck.activeL1': bool(),
  'overlapCheck.activeL2': bool(),
  'overlapCheck.refcountTable': bool(),
  'overlapCheck.refcountBlock': bool(),
  'overlapCheck.snapshotTable': bool(),
  'overlapCheck.inactiveL1': bool(),
  'overlapCheck.inactiveL2': bool(),
  'overlapCheck.bitmapDirectory': bool(),
} as const

/** Options that a reopen may change: all. */
export const MUTABLE_OPTIONS = Object.keys(runtimeOptions)

/**
 * The old options that a reopen keeps: a new template for overlap checks replaces all old options about them,
 * and the total cache size replaces its parts, and the other way round. QEMU's `qcow2_join_options`.
 */
export function keepOptions(before: RawOptions, given: RawOptions): RawOptions {
  const kept: Record<string, unknown> = { ...before }
  const check = given['overlap-check']
  const template = typeof check === 'object' ? (check as RawOptions)['template'] : check
  if (template !== undefined || given['overlap-check.template'] !== undefined) {
    for (const key of Object.keys(kept)) if (/^overlap-check(\.|$)/.test(key)) delete kept[key]
  } else if (typeof check === 'object' && typeof kept['overlap-check'] === 'string') {
    kept['overlap-check'] = { template: kept['overlap-check'] }
  }
  if (given['cache-size'] !== undefined) {
    delete kept['l2-cache-size']
    delete kept['refcount-cache-size']
  } else if (given['l2-cache-size'] !== undefined || given['refcount-cache-size'] !== undefined)
    delete kept['cache-size']
  return kept
}

/** Parsed runtime options. */
export type RuntimeOptions = OptionValues<typeof runtimeOptions>

/** QEMU's default and minimum sizes of the caches, in bytes (block/qcow2.h). */
const MAX_L2_CACHE = 32 * 2 ** 20
const MIN_L2_SLICES = 2
const MIN_REFCOUNT_TABLES = 4
/** Bytes of a cache slice: 512 L2 entries, or 2048 refcounts of 16 bits, are loaded with one small read. */
const SLICE = 4096
/** QEMU's default for `cache-clean-interval` on platforms that support it. */
const CLEAN_INTERVAL = 600
/** The largest number of cache slices, or of clusters of refcounts, that QEMU counts. */
const INT_MAX = 2 ** 31 - 1

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Resolves the settings of an image. @throws BlockError EINVAL for sizes that contradict each other */
export function resolveSettings(
  context: Pick<ImageSettings, 'nodeName' | 'filename' | 'readOnly' | 'checkMode'> & {
    readonly unmap: boolean
  },
  options: RuntimeOptions,
  header: Header,
  geometry: Geometry,
): ImageSettings {
  const { nodeName, filename, readOnly, checkMode } = context
  return {
    nodeName,
    filename,
    readOnly,
    checkMode,
    ...mutableSettings(options, header, geometry, context.unmap),
  }
}

/**
 * The settings that a reopen may change.
 *
 * @throws BlockError EINVAL for lazy refcounts in version 2, and values that contradict each other
 */
export function mutableSettings(
  options: RuntimeOptions,
  header: Header,
  geometry: Geometry,
  unmap: boolean,
): Pick<
  ImageSettings,
  'caches' | 'lazyRefcounts' | 'refcountReserve' | 'freedClustersSize' | 'overlapCheck' | 'passDiscard'
> {
  const caches = cacheSettings(options, header, geometry)
  const lazyRefcounts = options.lazyRefcounts ?? (header.compatible & Compatible.lazyRefcounts) !== 0n
  if (lazyRefcounts && header.version < 3)
    throw invalid('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level')
  return {
    caches,
    lazyRefcounts,
    refcountReserve: options.refcountReserve,
    freedClustersSize: options.freedClustersSize,
    overlapCheck: overlapClasses(options),
    passDiscard: {
      request: options.passDiscardRequest ?? unmap,
      snapshot: options.passDiscardSnapshot ?? true,
      other: options.passDiscardOther ?? false,
    },
  }
}

/** The classes of a template, switched on or off one by one. */
function overlapClasses(options: RuntimeOptions): number {
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

function cacheSettings(options: RuntimeOptions, header: Header, geometry: Geometry): CacheSettings {
  const { clusterSize } = geometry
  const sizes = cacheSizes(options, header, geometry)
  const sliceSize = options.l2CacheEntrySize ?? Math.min(clusterSize, SLICE)
  if (!isPowerOfTwo(sliceSize) || sliceSize < 512 || sliceSize > clusterSize)
    throw invalid(
      `L2 cache entry size must be a power of two between 512 and the cluster size (${clusterSize})`,
    )
  if (sizes.l2CacheSize / (options.l2CacheEntrySize ?? clusterSize) > INT_MAX)
    throw invalid('L2 cache size too big')
  if (sizes.refcountCacheSize / clusterSize > INT_MAX) throw invalid('Refcount cache size too big')
  return {
    sliceSize,
    cleanInterval: options.cacheCleanInterval ?? CLEAN_INTERVAL,
    l2CacheSize: Math.max(sizes.l2CacheSize, MIN_L2_SLICES * sliceSize),
    refcountCacheSize: Math.max(sizes.refcountCacheSize, MIN_REFCOUNT_TABLES * clusterSize),
  }
}

/**
 * QEMU's `read_cache_sizes`, in bytes: a total, its parts, or defaults (docs/qcow2-cache.txt). Smaller sizes
 * than the minimum are not refused, but raised to it.
 */
function cacheSizes(
  { cacheSize, l2CacheSize, refcountCacheSize }: RuntimeOptions,
  header: Header,
  { clusterSize, l2EntrySize }: Geometry,
): Pick<CacheSettings, 'l2CacheSize' | 'refcountCacheSize'> {
  const leastRefcounts = MIN_REFCOUNT_TABLES * clusterSize
  // A cache larger than all L2 tables of the image would be of no use.
  const allTables = alignUp(Math.ceil(header.size / clusterSize) * l2EntrySize, clusterSize)
  if (cacheSize === undefined) {
    return {
      l2CacheSize: Math.min(l2CacheSize ?? MAX_L2_CACHE, allTables),
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
