/** How a disk behaves: what is durable when, how much memory it takes, and what happens when the image fails. */
import {
  BlockError,
  type Check,
  expects,
  oneOfWords,
  requireFlag,
  requireOptions,
  shown,
} from '@vmblock/block-core'
import { type Clock, hostClock } from './clock.ts'

/**
 * When a write counts as done. `write-back`: once it is in memory; a barrier follows within {@link DiskOptions.flushInterval},
 * and whenever the guest, or the application, asks. `write-through`: once it is durable.
 */
export type Durability = 'write-back' | 'write-through'

/** How an {@link EmulatorDisk} behaves. Sizes in bytes. */
export interface DiskOptions {
  /** Default: `write-back`. */
  readonly durability?: Durability
  /** Milliseconds from the first write that is not durable to the barrier that makes it so. 0: none. Default: 1000. */
  readonly flushInterval?: number
  /** Memory for what was read. 0: none, and nothing is answered at once. Default: 16 MiB. */
  readonly cacheSize?: number
  /** What is read from the image at a time; a power of two, from 512 to 1 MiB. Default: 32 KiB. */
  readonly blockSize?: number
  /** The furthest to read ahead of a guest that reads on; at most a quarter of the cache. Default: 512 KiB. */
  readonly readAhead?: number
  /**
   * Memory for writes that are on their way to the image. A guest that waits for its writes (v86's DMA) stays below it, by
   * one request more at most; one that does not (PIO on v86 as it is) may go beyond. Default: 8 MiB.
   */
  readonly writeBuffer?: number
  /**
   * QEMU's policies for failed writes and flushes. `enospc`: where there is no room (ENOSPC, EDQUOT) everything is held until
   * {@link EmulatorDisk.resume}, other failures are reported. `stop`: every failure holds. `report`: none does. Default: `enospc`.
   */
  readonly werror?: 'enospc' | 'stop' | 'report'
  /** The same for reads. Default: `report`. */
  readonly rerror?: 'stop' | 'report'
  /** Whether `close` and `crash` end the node too. Default: yes for a node that was opened for the disk, no for one that was given. */
  readonly ownsNode?: boolean
  /** Where the time of the barrier comes from. Default: the host's timers. */
  readonly clock?: Clock
}

/** {@link DiskOptions} with everything filled in. */
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

/** When a write counts as done: one of the two words. */
export const requireDurability = oneOfWords(...WORDS.durability)

/** These are judged by {@link diskSettings}, with words of their own. */
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

/** Fills in what was not given. @throws BlockError EINVAL that names what makes no sense */
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
