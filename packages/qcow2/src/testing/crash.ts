/**
 * Kinds of qcow2 images for simulated power cuts: small, so that their tables grow, and that a million
 * crashes take little time.
 */
import type { RawOptions } from '@vmblock/block-core'
import {
  type CrashAllowance,
  type CrashImage,
  type CrashScene,
  type CrashWorkload,
  optionsFor,
} from '@vmblock/block-core/testing'
import { qcow2 } from '../driver.ts'
import { KINDS } from './kinds.ts'

/** A kind of image, and the findings that are allowed after a power cut. */
export interface Variety {
  readonly create: RawOptions
  readonly open?: RawOptions
  readonly image?: Partial<CrashImage>
  readonly allows?: CrashAllowance
}

/** Bytes of a cluster, for many tables: 64 L2 entries each. */
export const SMALL_CLUSTER = 512
/**
 * Bytes of the guest's disk with these: two L2 tables, as many as their cache holds, so that it is written
 * back all the time.
 */
export const SMALL_SIZE = 64 * 1024
const SMALL = { cluster_size: SMALL_CLUSTER, size: SMALL_SIZE }

/** Bytes of a cluster, and of the disk, in most varieties: table changes wait in the caches for a flush. */
export const CLUSTER = 2048
/** See {@link CLUSTER}. */
export const SIZE = 80 * CLUSTER
const MIDDLE = { cluster_size: CLUSTER, size: SIZE }
/** Tables are written in pieces of a sector, of which each then has several. */
const SLICES = { 'l2-cache-entry-size': 512 }

const LARGE = { cluster_size: 65536, size: 6 * 65536 }
const DIVIDED = { ...KINDS.subclusters, cluster_size: 16384, size: 8 * 16384 }

/** Every write is durable when it completes. */
export const WRITETHROUGH: RawOptions = { cache: { writeback: false } }
const DIRECTSYNC = { cache: { writeback: false, direct: true } }
/** As `variety`, with lazy refcounts: the dirty bit may be set. */
export const lazily = ({ create, allows, ...rest }: Variety): Variety => ({
  ...rest,
  create: { ...create, ...KINDS.lazy },
  allows: { ...allows, dirty: true },
})

const EAGER: Variety = { create: MIDDLE, open: SLICES }
const LAZY = lazily(EAGER)
const SMALL_CLUSTERS: Variety = { create: SMALL }
const SUBCLUSTERS: Variety = { create: DIVIDED }
const LARGE_CLUSTERS: Variety = { create: LARGE }
const DATA_FILE: Variety = {
  ...EAGER,
  create: { ...MIDDLE, ...optionsFor(KINDS['data file'], 'disk') },
  image: { hasDataFile: true },
}
const RAW_DATA_FILE: Variety = {
  ...DATA_FILE,
  create: { ...MIDDLE, ...optionsFor(KINDS['raw data file'], 'disk') },
  image: { hasDataFile: true, isDataFileRaw: true },
}
const PREALLOCATED: Variety = { ...EAGER, create: { ...MIDDLE, ...KINDS.preallocated } }
const NARROW: Variety = { create: { ...SMALL, ...KINDS['1-bit refcounts'] } }

/** As `variety`, with other open options during the workload. */
const opened = (variety: Variety, options: RawOptions): Variety => ({
  ...variety,
  open: { ...variety.open, ...options },
})

/** Images that stand alone. */
export const VARIETIES = {
  eager: EAGER,
  lazy: LAZY,
  'eager, writethrough': opened(EAGER, WRITETHROUGH),
  'lazy, writethrough': opened(LAZY, WRITETHROUGH),
  'eager, directsync on 4k sectors': { ...opened(EAGER, DIRECTSYNC), image: { alignment: 4096 } },
  'lazy, directsync on 4k sectors': { ...opened(LAZY, DIRECTSYNC), image: { alignment: 4096 } },
  'eager, discards passed on': opened(EAGER, { 'pass-discard-other': 'on' }),
  'small clusters': SMALL_CLUSTERS,
  'lazy, small clusters': lazily(SMALL_CLUSTERS),
  'lazy, small clusters, writethrough': opened(lazily(SMALL_CLUSTERS), WRITETHROUGH),
  'version 2': { ...EAGER, create: { ...MIDDLE, ...KINDS['version 2'] } },
  '1-bit refcounts': NARROW,
  'lazy, 1-bit refcounts': lazily(NARROW),
  '64-bit refcounts': { create: { ...SMALL, ...KINDS['64-bit refcounts'] } },
  '64k clusters': LARGE_CLUSTERS,
  'lazy, 64k clusters': lazily(LARGE_CLUSTERS),
  subclusters: SUBCLUSTERS,
  'lazy, subclusters': lazily(SUBCLUSTERS),
  'lazy, subclusters, writethrough': opened(lazily(SUBCLUSTERS), WRITETHROUGH),
  'data file': DATA_FILE,
  'lazy, data file': lazily(DATA_FILE),
  'raw data file': RAW_DATA_FILE,
  'lazy, raw data file': lazily(RAW_DATA_FILE),
  'reserved refcounts': opened(EAGER, { 'refcount-reserve': 24 }),
  'reserved refcounts, writethrough': opened(EAGER, { 'refcount-reserve': 24, ...WRITETHROUGH }),
  'reserved 1-bit refcounts, writethrough': opened(NARROW, { 'refcount-reserve': 24, ...WRITETHROUGH }),
  zstd: { ...EAGER, create: { ...MIDDLE, ...KINDS.zstd } },
  'bounded frees': opened(EAGER, { 'freed-clusters-size': 3 * CLUSTER }),
  'lazy, bounded frees': opened(LAZY, { 'freed-clusters-size': 0 }),
  preallocated: PREALLOCATED,
  'lazy, preallocated': lazily(PREALLOCATED),
} satisfies Readonly<Record<string, Variety>>

/** One of {@link VARIETIES}. */
export type VarietyName = keyof typeof VARIETIES

/** The steps of a workload on an image. */
export type Operation = Pick<CrashWorkload, 'prepare' | 'run' | 'meets' | 'weight' | 'inspect'>

/** A workload for an image that stands alone. */
export function alone(name: string, variety: Variety, operation: Operation): CrashWorkload {
  return { name, ...operation, images: { disk: imageOf(variety) }, allows: variety.allows ?? {} }
}

/** Workloads for one operation on several varieties. */
export const onEach = (
  name: string,
  varieties: readonly VarietyName[],
  operation: Operation,
): CrashWorkload[] => varieties.map((variety) => alone(`${name}: ${variety}`, VARIETIES[variety], operation))

/** A workload for an image over another one, which is full of data, or has it where `fill` writes it. */
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
  /** Fills the base, which is open for writing. */
  fill?(scene: CrashScene): Promise<void>
}

const imageOf = ({ create, open, image }: Variety): CrashImage => ({
  driver: qcow2,
  create,
  ...(open && { open }),
  ...image,
})

/** The number of a new snapshot's name, also after a crash. */
const nextSnapshot = ({ guest }: CrashScene): string =>
  `s${1 + Math.max(0, ...guest.snapshotNames.map((name) => Number(name.slice(1))))}`

/**
 * Snapshots come and go while the guest writes.
 *
 * @param requests between two of these changes
 * @param resizes whether the disk changes its size, too
 */
export const snapshots = (requests: (scene: CrashScene) => Promise<void>, resizes = false): Operation => ({
  async run(scene) {
    const { random, guest } = scene
    for (let i = 0; i < 8; i++) {
      await requests(scene)
      const name = guest.snapshotNames.length > 0 ? random.pick(guest.snapshotNames) : undefined
      const kind = name === undefined ? 'create' : random.pick(['create', 'apply', 'apply', 'delete'])
      if (kind === 'create') await guest.createSnapshot(nextSnapshot(scene))
      else if (kind === 'apply') await guest.applySnapshot(name!)
      else await guest.deleteSnapshot(name!)
      if (resizes && random.chance(0.4)) await guest.resize(random.int(8, 100) * 1024)
    }
  },
})
