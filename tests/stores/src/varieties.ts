/** Kinds of images: their refcounts are right at once, or after a repair. */
import type { RawOptions } from '@vmblock/block-core'

/** A kind of image. */
export interface Variety {
  readonly name: string
  readonly create: RawOptions
  /** It may say that it needs a repair, and then be worse than leaking. */
  readonly lazy: boolean
}

/** Small clusters, so that tables are written and grow all the time, and those that everybody has. */
export const VARIETIES: readonly Variety[] = [
  { name: 'eager', create: { size: '320k', cluster_size: 2048 }, lazy: false },
  { name: 'lazy', create: { size: '320k', cluster_size: 2048, lazy_refcounts: 'on' }, lazy: true },
  { name: 'lazy, 64k clusters', create: { size: '1M', lazy_refcounts: 'on' }, lazy: true },
]

/** What vitest.config.ts hands on to the page. */
const env = (import.meta as unknown as { readonly env: Readonly<Record<string, string | undefined>> }).env

/** The first seed, and how many there are. */
export const SEED = Number(env['CRASH_SEED'] ?? 1)
/** See {@link SEED}. */
export const SCALE = Math.max(1, Math.round(Number(env['CRASH_SCALE'] ?? 1)))
/** Milliseconds: with many seeds a test takes long. */
export const TIMEOUT = 3_600_000
