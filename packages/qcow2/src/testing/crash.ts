/** Kinds of qcow2 images for power cuts: small, so that their tables grow, and that a million crashes are soon over. */
import type { RawOptions } from '@vmblock/block-core'
import type { CrashAllowance, CrashImage, CrashScene, CrashWorkload } from '@vmblock/block-core/testing'
import { qcow2 } from '../driver.ts'

/** A kind of image, and what a power cut may leave of it. */
export interface Variety {
  readonly create: RawOptions
  readonly open?: RawOptions
  readonly image?: Partial<CrashImage>
  readonly allows?: CrashAllowance
}

/** Bytes of a cluster, of most varieties. */
export const CLUSTER = 512
/** Bytes of the guest's disk: two L2 tables of clusters of 512 bytes. */
export const SIZE = 64 * 1024

const SMALL = { cluster_size: CLUSTER, size: SIZE }
const LARGE = { cluster_size: 65536, size: 6 * 65536 }
const DIVIDED = { cluster_size: 16384, size: 8 * 16384, extended_l2: 'on' }

/** Every write is durable when it completes. */
export const WRITETHROUGH: RawOptions = { cache: { writeback: false } }
const DIRECTSYNC = { cache: { writeback: false, direct: true } }
const TINY_CACHES = { 'l2-cache-size': 2 * CLUSTER, 'refcount-cache-size': 2 * CLUSTER }

/** As `variety`, with lazy refcounts: then the dirty bit may be set. */
export const lazily = ({ create, allows, ...rest }: Variety): Variety => ({
  ...rest,
  create: { ...create, lazy_refcounts: 'on' },
  allows: { ...allows, dirty: true },
})

const EAGER: Variety = { create: SMALL }
const LAZY = lazily(EAGER)
const SUBCLUSTERS: Variety = { create: DIVIDED }
const LARGE_CLUSTERS: Variety = { create: LARGE }
const DATA_FILE: Variety = { create: { ...SMALL, data_file: 'data' }, image: { hasDataFile: true } }
const PREALLOCATED: Variety = { create: { ...SMALL, preallocation: 'metadata' } }
const NARROW: Variety = { create: { ...SMALL, refcount_bits: 1 } }

/** Images that stand alone. */
export const VARIETIES = {
  eager: EAGER,
  lazy: LAZY,
  'eager, writethrough': { ...EAGER, open: WRITETHROUGH },
  'lazy, writethrough': { ...LAZY, open: WRITETHROUGH },
  'eager, directsync on 4k sectors': { ...EAGER, open: DIRECTSYNC, image: { alignment: 4096 } },
  'lazy, directsync on 4k sectors': { ...LAZY, open: DIRECTSYNC, image: { alignment: 4096 } },
  'eager, tiny caches': { ...EAGER, open: TINY_CACHES },
  'lazy, tiny caches': { ...LAZY, open: TINY_CACHES },
  'eager, discards passed on': { ...EAGER, open: { 'pass-discard-other': 'on' } },
  'version 2': { create: { ...SMALL, compat: '0.10' } },
  '1-bit refcounts': NARROW,
  'lazy, 1-bit refcounts': lazily(NARROW),
  '64-bit refcounts': { create: { ...SMALL, refcount_bits: 64 } },
  '64k clusters': LARGE_CLUSTERS,
  'lazy, 64k clusters': lazily(LARGE_CLUSTERS),
  subclusters: SUBCLUSTERS,
  'lazy, subclusters': lazily(SUBCLUSTERS),
  'lazy, subclusters, writethrough': { ...lazily(SUBCLUSTERS), open: WRITETHROUGH },
  'data file': DATA_FILE,
  'lazy, data file': lazily(DATA_FILE),
  'raw data file': { ...DATA_FILE, create: { ...DATA_FILE.create, data_file_raw: 'on' } },
  preallocated: PREALLOCATED,
  'lazy, preallocated': lazily(PREALLOCATED),
} satisfies Readonly<Record<string, Variety>>

/** One of {@link VARIETIES}. */
export type VarietyName = keyof typeof VARIETIES

/** What is done to an image. */
export type Operation = Pick<CrashWorkload, 'prepare' | 'run' | 'meets' | 'weight'>

/** A workload for an image that stands alone. */
export function alone(name: string, variety: Variety, operation: Operation): CrashWorkload {
  return { name, ...operation, images: { disk: imageOf(variety) }, allows: variety.allows ?? {} }
}

/** Workloads for the same operation on several varieties. */
export const onEach = (name: string, varieties: readonly VarietyName[], operation: Operation): CrashWorkload[] =>
  varieties.map((variety) => alone(`${name}: ${variety}`, VARIETIES[variety], operation))

/** A workload for an image over another one, which has data everywhere, or where `fill` writes it. */
export function overlay(
  name: string,
  { top, base, fill = (scene) => scene.guestOf('base').write(0, scene.guestOf('base').size) }: Overlay,
  { prepare, ...operation }: Operation,
): CrashWorkload {
  return {
    name,
    ...operation,
    images: { base: imageOf(base), top: { ...imageOf(top), backing: 'base' } },
    allows: { ...base.allows, ...top.allows },
    async prepare(scene) {
      const below = scene.guestOf('base')
      await below.reopen({ readOnly: false })
      await fill(scene)
      await below.reopen({ readOnly: true })
      await prepare?.(scene)
    },
  }
}

/** Two images, one over the other. */
export interface Overlay {
  readonly top: Variety
  readonly base: Variety
  /** Writes to the base, which is open for it. */
  fill?(scene: CrashScene): Promise<void>
}

const imageOf = ({ create, open, image }: Variety): CrashImage => ({
  driver: qcow2,
  create,
  ...(open && { open }),
  ...image,
})
