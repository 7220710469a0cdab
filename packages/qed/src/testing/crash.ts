/** Kinds of QED images for simulated power cuts, and the clock of their need-check bits. */
import type { AnyDriver, RawOptions } from '@vmblock/block-core'
import type { CrashAllowance, CrashImage, CrashWorkload } from '@vmblock/block-core/testing'
import { createQedDriver } from '../driver.ts'
import { TestClock } from './images.ts'

/** The clock of all images here; it stands still until a workload advances it. */
export const clock = new TestClock()

const driver = createQedDriver({ clock })

/** Bytes of a cluster in most varieties. */
export const CLUSTER = 4096
/** Guest bytes that one L2 table of such clusters describes. */
export const COVERAGE = (CLUSTER / 8) * CLUSTER

const SMALL = { cluster_size: CLUSTER, table_size: 1, size: 64 * 1024 }

/** Leaks are never repaired; an image that needs a check has its bit set. */
const ALONE: CrashAllowance = { leaks: true, dirty: true }
/** With a backing file, data is durable before its entry, and the bit is not needed. */
const OVER: CrashAllowance = { leaks: true }

/** A kind of image. */
export interface Variety {
  readonly create: RawOptions
  readonly open?: RawOptions
  readonly alignment?: number
  readonly filter?: AnyDriver
}

const WRITETHROUGH = { cache: { writeback: false } }

/** Images without a backing file, or above another. */
export const VARIETIES = {
  '4k clusters': { create: SMALL },
  '4k clusters, writethrough': { create: SMALL, open: WRITETHROUGH },
  '4k clusters, directsync on 4k sectors': {
    create: SMALL,
    open: { cache: { writeback: false, direct: true } },
    alignment: 4096,
  },
  '64k clusters': { create: { table_size: 1, size: 6 * 65536 } },
  'two L2 tables': { create: { ...SMALL, size: COVERAGE + 64 * 1024 } },
} satisfies Readonly<Record<string, Variety>>

const imageOf = (variety: Variety): CrashImage => ({ driver, ...variety })

/** The steps of a workload on an image. */
export type Operation = Pick<CrashWorkload, 'prepare' | 'run' | 'meets' | 'weight'>

/** A workload for an image that stands alone. */
export const alone = (name: string, variety: Variety, operation: Operation): CrashWorkload => ({
  name,
  ...operation,
  images: { disk: imageOf(variety) },
  allows: ALONE,
})

/** A workload for an image over another one, which is full of data. */
export const overlay = (
  name: string,
  top: Variety,
  base: Variety,
  operation: Operation,
  allows = OVER,
): CrashWorkload => ({
  name,
  ...operation,
  images: { base: imageOf(base), top: { ...imageOf(top), backing: 'base' } },
  allows,
  async prepare(scene) {
    const below = scene.guestOf('base')
    await below.reopen({ readOnly: false })
    await below.write(0, below.size)
    await below.reopen({ readOnly: true })
  },
})
