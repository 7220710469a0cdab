/** Kinds of images: their refcounts are right at once, or after a repair. */
import type { RawOptions } from '@vmblock/block-core'

/** A kind of image. */
export interface Variety {
  readonly name: string
  /** Bytes of the disk, and of a cluster. */
  readonly size: number
  readonly cluster: number
  /** Further creation options. */
  readonly more: RawOptions
  /** Whether the image may be marked as needing repair, and then be worse than leaking. */
  readonly lazy: boolean
}

/** Small clusters, so that tables are written and grow all the time, and the usual ones. */
export const VARIETIES: readonly Variety[] = [
  { name: 'eager', size: 320 * 1024, cluster: 2048, more: {}, lazy: false },
  { name: 'lazy', size: 320 * 1024, cluster: 2048, more: { lazy_refcounts: 'on' }, lazy: true },
  { name: 'lazy, 64k clusters', size: 2 ** 20, cluster: 65536, more: { lazy_refcounts: 'on' }, lazy: true },
]

/** Options as for `qemu-img create -o`. */
export const creationOf = ({ size, cluster, more }: Variety): RawOptions => ({
  size,
  cluster_size: cluster,
  ...more,
})

/** Variables that vitest.config.ts hands on to the page. */
const env = (import.meta as unknown as { readonly env: Readonly<Record<string, string | undefined>> }).env

/** The first seed, and the number of seeds is {@link SCALE}. */
export const SEED = Number(env['CRASH_SEED'] ?? 1)
/** The number of seeds, from {@link SEED}. */
export const SCALE = Math.max(1, Math.round(Number(env['CRASH_SCALE'] ?? 1)))
/** Milliseconds: with many seeds a test takes long. */
export const TIMEOUT = 3_600_000
