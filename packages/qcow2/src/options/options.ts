/** Runtime options, spelled as in QEMU's `BlockdevOptionsQcow2`, and the settings derived from them. */
import {
  alignUp,
  BlockError,
  bool,
  integer,
  isBlockError,
  type OpenContext,
  type OptionType,
  type OptionValues,
  size,
  text,
} from '@vmblock/block-core/driver'
import { Compatible } from '../format/features.ts'
import type { Geometry } from '../format/geometry.ts'
import type { Header } from '../format/header.ts'
import { CACHED_METADATA, Metadata } from '../format/metadata.ts'
import type { CacheSettings, ImageSettings } from '../image/image.ts'

/**
 * A whole number up to `max`. Negative ones count from 2^64 down, as in C, and so are too large, too.
 *
 * @param refuse the message for a number that is too large
 */
const upTo = (max: number, refuse: (key: string) => string): OptionType<number> => ({
  ...integer(),
  parse(value, key) {
    let number = Number.POSITIVE_INFINITY
    try {
      number = integer().parse(value, key)
    } catch (error) {
      if (!isBlockError(error, 'EFBIG')) throw error
    }
    if (number > max) throw new BlockError('EINVAL', refuse(key))
    return number
  },
})

/** Clusters: as many as a refcount block covers with the largest clusters and 16-bit refcounts. */
const MAX_RESERVE = 2 ** 20

/** Bytes: enough that flushes for this reason are rare, and too little to fill a disk. */
const FREED_CLUSTERS = 16 * 2 ** 20

type OverlapCheck = `overlapCheck.${keyof typeof Metadata}`

/** Options whose code is loaded when one is given (chosen-settings.ts). */
const rareOptions = {
  /** Bytes: all metadata in memory, or each kind of tables; and a slice of L2 tables. */
  cacheSize: size(),
  l2CacheSize: size(),
  l2CacheEntrySize: size(),
  refcountCacheSize: size(),
  /** Which structures are guarded against unintended writes: a template, and exceptions from it. */
  overlapCheck: text(),
  'overlapCheck.template': text(),
  ...(Object.fromEntries(Object.keys(Metadata).map((name) => [`overlapCheck.${name}`, bool()])) as Readonly<
    Record<OverlapCheck, OptionType<boolean>>
  >),
} as const

/** The option table of the driver. No program prints it, so what the options do is said here: pages load the table. */
export const runtimeOptions = {
  /** Postpone refcount updates. */
  lazyRefcounts: bool(),
  /** Raise the refcounts of this many clusters ahead of their use; 0: none. */
  refcountReserve: {
    ...upTo(MAX_RESERVE, (key) => `'${key}' may not exceed ${MAX_RESERVE} clusters`),
    default: 0,
  },
  /** Bytes: flush when more than this much of freed clusters waits for it. */
  freedClustersSize: size('', FREED_CLUSTERS),
  /** Pass guest discards to the layer below; discard there what snapshots, or anything else, gave up. */
  passDiscardRequest: bool(),
  passDiscardSnapshot: bool(),
  passDiscardOther: bool(),
  'encrypt.format': text(),
  /** ID of the secret. */
  'encrypt.keySecret': text(),
  /** Seconds after which unused tables are dropped from memory. */
  cacheCleanInterval: upTo(0xffff_ffff, () => 'Cache clean interval too big'),
  ...rareOptions,
} as const

/** Options that a reopen may change: all but those of the key, which is not derived again. */
export const MUTABLE_OPTIONS = Object.keys(runtimeOptions).filter((key) => !key.startsWith('encrypt'))

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

/** Sizes in bytes. */
export type CacheSizes = Omit<CacheSettings, 'cleanInterval'>

/** The code for options that are rarely given. See chosen-settings.ts. */
export interface RareOptionsCode {
  chosenCaches(
    options: RuntimeOptions,
    standard: CacheSizes,
    allTables: number,
    clusterSize: number,
  ): CacheSizes
  chosenOverlapCheck(options: RuntimeOptions): number
}

/**
 * Resolves the settings of an image.
 *
 * @param loadRare loads the code for options that are rarely given
 * @throws BlockError EINVAL as {@link mutableSettings}; EIO if the code cannot be loaded
 */
export async function resolveSettings(
  { nodeName, filename, readOnly, checkMode, unmap, options }: OpenContext<RuntimeOptions>,
  header: Header,
  geometry: Geometry,
  loadRare: () => Promise<RareOptionsCode>,
): Promise<ImageSettings> {
  const isRare = Object.keys(rareOptions).some((key) => options[key as keyof RuntimeOptions] !== undefined)
  const rare = isRare ? await loadRare() : undefined
  const mutable = mutableSettings(options, header, geometry, unmap, rare)
  return { nodeName, filename, readOnly, checkMode, ...mutable }
}

/**
 * The settings that a reopen may change.
 *
 * @param rare required if an option is given that needs it
 * @throws BlockError EINVAL for lazy refcounts in version 2, and values that contradict each other
 */
export function mutableSettings(
  options: RuntimeOptions,
  { compatible, version, size: diskSize }: Header,
  { clusterSize, l2EntrySize }: Geometry,
  unmap: boolean,
  rare?: RareOptionsCode,
): Omit<ImageSettings, 'nodeName' | 'filename' | 'readOnly' | 'checkMode'> {
  const allTables = alignUp(Math.ceil(diskSize / clusterSize) * l2EntrySize, clusterSize)
  const leastRefcounts = MIN_REFCOUNT_TABLES * clusterSize
  const standard = {
    sliceSize: Math.min(clusterSize, SLICE),
    l2CacheSize: Math.min(MAX_L2_CACHE, allTables),
    refcountCacheSize: leastRefcounts,
  }
  const caches = rare?.chosenCaches(options, standard, allTables, clusterSize) ?? standard
  const lazyRefcounts = options.lazyRefcounts ?? (compatible & Compatible.lazyRefcounts) !== 0n
  if (lazyRefcounts && version < 3)
    throw new BlockError(
      'EINVAL',
      'Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level',
    )
  return {
    // Sizes below the least are not refused, but raised to it.
    caches: {
      sliceSize: caches.sliceSize,
      cleanInterval: options.cacheCleanInterval ?? CLEAN_INTERVAL,
      l2CacheSize: Math.max(caches.l2CacheSize, MIN_L2_SLICES * caches.sliceSize),
      refcountCacheSize: Math.max(caches.refcountCacheSize, leastRefcounts),
    },
    lazyRefcounts,
    refcountReserve: options.refcountReserve,
    freedClustersSize: options.freedClustersSize,
    overlapCheck: rare?.chosenOverlapCheck(options) ?? CACHED_METADATA,
    passDiscard: {
      request: options.passDiscardRequest ?? unmap,
      snapshot: options.passDiscardSnapshot ?? true,
      other: options.passDiscardOther ?? false,
    },
  }
}
