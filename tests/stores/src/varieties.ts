/** Kinds of images: their refcounts are right at once, or after a repair. */
import type { RawOptions } from '@vmblock/block-core'

/** A kind of image. */
export interface Variety {
  readonly name: string
  /** Bytes of the disk, and of a cluster. */
  readonly size: number
  readonly cluster: number
  /** What else it is made with. */
  readonly more: RawOptions
  /** It may say that it needs a repair, and then be worse than leaking. */
  readonly lazy: boolean
}

/** Small clusters, so that tables are written and grow all the time, and those that everybody has. */
export const VARIETIES: readonly Variety[] = [
  { name: 'eager', size: 320 * 1024, cluster: 2048, more: {}, lazy: false },
  { name: 'lazy', size: 320 * 1024, cluster: 2048, more: { lazy_refcounts: 'on' }, lazy: true },
  { name: 'lazy, 64k clusters', size: 2 ** 20, cluster: 65536, more: { lazy_refcounts: 'on' }, lazy: true },
]

/** As for `qemu-img create -o`. */
export const creationOf = ({ size, cluster, more }: Variety): RawOptions => ({
  size,
  cluster_size: cluster,
  ...more,
})

/** What vitest.config.ts hands on to the page. */
const env = (import.meta as unknown as { readonly env: Readonly<Record<string, string | undefined>> }).env

/** The first seed, and how many there are. */
export const SEED = Number(env['CRASH_SEED'] ?? 1)
/** See {@link SEED}. */
export const SCALE = Math.max(1, Math.round(Number(env['CRASH_SCALE'] ?? 1)))
/** Milliseconds: with many seeds a test takes long. */
export const TIMEOUT = 3_600_000
