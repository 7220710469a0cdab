/** Options of a disk: durability of writes, memory, and what happens when the image fails. */
import { BlockError } from '@vmblock/block-core'
import {
  type Check,
  expects,
  oneOfWords,
  requireFlag,
  requireOptions,
  shown,
} from '@vmblock/block-core/driver'
import { type Clock, hostClock } from './clock.ts'

/**
 * When a write counts as done. `write-back`: once it is in memory; a flush follows within
 * {@link DiskOptions.flushInterval}, or when the guest or the application requests one. `write-through`: once
 * it is durable.
 */
export type Durability = 'write-back' | 'write-through'

/** Options of an {@link EmulatorDisk}. Sizes in bytes. */
export interface DiskOptions {
  /** When a write counts as done. Default: `write-back`. */
  readonly durability?: Durability
  /** Milliseconds from the first non-durable write to a flush. 0: no timed flushes. Default: 1000. */
  readonly flushInterval?: number
  /** Memory for the read cache. 0: none, and no read is answered at once. Default: 16 MiB. */
  readonly cacheSize?: number
  /** Block size of the cache; a power of two, from 512 to 1 MiB. Default: 32 KiB. */
  readonly blockSize?: number
  /** Limit of read-ahead for sequential reads; at most a quarter of the cache. Default: 512 KiB. */
  readonly readAhead?: number
  /**
   * Memory for queued writes. A guest that waits for its writes (v86's DMA) exceeds it by at most one
   * request; a guest that does not (PIO on unmodified v86) may exceed it further. Default: 8 MiB.
   */
  readonly writeBuffer?: number
  /**
   * QEMU's policies for failed writes and flushes. `enospc`: without space (ENOSPC, EDQUOT) all requests are
   * held until `resume()` of the disk, other failures are reported. `stop`: every failure holds
   * requests. `report`: none does. Default: `enospc`.
   */
  readonly werror?: 'enospc' | 'stop' | 'report'
  /** The same for reads. Default: `report`. */
  readonly rerror?: 'stop' | 'report'
  /** Whether `close` and `crash` end the node too. Default: yes if it was opened for the disk. */
  readonly ownsNode?: boolean
  /** The timers of the timed flush. Default: the host's. */
  readonly clock?: Clock
}

/** {@link DiskOptions} with the defaults filled in. */
export type DiskSettings = Required<DiskOptions>

const DEFAULTS: DiskSettings = {
  durability: 'write-back',
  flushInterval: 1000,
  cacheSize: 16 * 2 ** 20,
  blockSize: 32768,
  readAhead: 512 * 1024,
  writeBuffer: 8 * 2 ** 20,
  werror: 'enospc',
  rerror: 'report',
  ownsNode: false,
  clock: hostClock,
}

const WORDS = {
  durability: ['write-back', 'write-through'],
  werror: ['enospc', 'stop', 'report'],
  rerror: ['stop', 'report'],
} as const

/** Checks a {@link Durability}. */
export const requireDurability = oneOfWords(...WORDS.durability)

/** For options that {@link diskSettings} checks itself, with its own messages. */
const judged: Check = () => undefined
const CHECKS: Readonly<Record<keyof DiskOptions, Check>> = {
  durability: judged,
  flushInterval: judged,
  cacheSize: judged,
  blockSize: judged,
  readAhead: judged,
  writeBuffer: judged,
  werror: judged,
  rerror: judged,
  ownsNode: requireFlag,
  clock: expects('a Clock', (value) => typeof (value as Partial<Clock> | null)?.after === 'function'),
}

/** Fills in the defaults. @throws BlockError EINVAL that names an invalid option */
export function diskSettings(options: DiskOptions): DiskSettings {
  requireOptions(options, 'options', CHECKS)
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const settings: DiskSettings = { ...DEFAULTS, ...given }
  for (const [key, words] of Object.entries(WORDS)) {
    const value = settings[key as keyof typeof WORDS]
    if (!(words as readonly string[]).includes(value))
      throw new BlockError('EINVAL', `${key} is one of ${words.join(', ')}, not ${shown(value)}`)
  }
  for (const key of ['flushInterval', 'cacheSize', 'readAhead', 'writeBuffer'] as const) {
    const value = settings[key]
    if (!Number.isFinite(value) || value < 0)
      throw new BlockError('EINVAL', `${key} is a number from 0, not ${shown(value)}`)
  }
  const { blockSize } = settings
  if (!Number.isInteger(Math.log2(blockSize)) || blockSize < 512 || blockSize > 2 ** 20)
    throw new BlockError('EINVAL', `blockSize is a power of two from 512 to 1048576, not ${shown(blockSize)}`)
  return settings
}
