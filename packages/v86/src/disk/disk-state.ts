/**
 * The record of a disk in a saved state of v86: which image it was and how many changes it had, not its
 * content. v86 restores the guest's memory, with file system caches in it, so the disk must match that
 * memory.
 */
import { BlockError } from '@vmblock/block-core'

/** The identity and state of a disk at one moment. */
export interface DiskMoment {
  /** Bytes. */
  readonly size: number
  /** The application's name for the disk, or the driver and the file name of its image. */
  readonly identity: string
  /** Identifies this opening of the disk. */
  readonly session: string
  /** Number of requests that had changed the disk since it was opened. */
  readonly generation: number
  /** Whether no write was queued and everything was durable. */
  readonly clean: boolean
  /** Whether the guest was told of a write cache, and relies on its flushes. */
  readonly guestFlushes: boolean
}

const MARK = 'vmblock disk'
const VERSION = 1

/** Encodes the moment as v86 can save it: primitives in an array. */
export const encodeMoment = (moment: DiskMoment): unknown[] => [
  MARK,
  VERSION,
  moment.size,
  moment.identity,
  moment.session,
  moment.generation,
  moment.clean,
  moment.guestFlushes,
]

const TYPES = ['number', 'string', 'string', 'number', 'boolean', 'boolean']

/** Decodes a moment. @throws BlockError EINVAL for anything that {@link encodeMoment} did not make */
export function decodeMoment(state: unknown): DiskMoment {
  const [mark, version, ...fields] = Array.isArray(state) ? (state as unknown[]) : []
  if (mark !== MARK)
    throw new BlockError(
      'EINVAL',
      'the state was saved with a disk of another kind, whose content it may hold',
    )
  if (version !== VERSION || TYPES.some((type, index) => typeof fields[index] !== type))
    throw new BlockError('EINVAL', 'the state was saved by another version of this library')
  const [size, identity, session, generation, clean, guestFlushes] = fields as [
    number,
    string,
    string,
    number,
    boolean,
    boolean,
  ]
  return { size, identity, session, generation, clean, guestFlushes }
}

/**
 * Checks that a state saved at `then` may be restored on the disk of `now`.
 *
 * @throws BlockError EINVAL that names the difference
 */
export function requireSameDisk(then: DiskMoment, now: DiskMoment, allowOlder: boolean): void {
  const refuse = (what: string): never => {
    throw new BlockError('EINVAL', `the state does not belong to this disk: ${what}`)
  }
  if (then.size !== now.size) refuse(`it was saved with one of ${then.size} bytes, this one has ${now.size}`)
  if (then.identity !== now.identity)
    refuse(`it was saved with '${then.identity}', and this is '${now.identity}'`)
  if (then.session === now.session && then.generation !== now.generation && !allowOlder)
    refuse(
      `this one was changed ${now.generation - then.generation} times since, and the memory of the guest does not know`,
    )
}
