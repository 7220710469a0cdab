/**
 * What a saved state of v86 says of a disk: which image it was and how far it was written, not its content. v86 restores the
 * memory of the guest, caches of file systems among it, so the disk below must be the one that this memory remembers.
 */
import { BlockError } from '@vmblock/block-core'

/** What identifies a disk at one moment. */
export interface DiskMoment {
  /** Bytes. */
  readonly size: number
  /** What the application calls the disk, or the driver and the file name of its image. */
  readonly identity: string
  /** This opening of the disk, among all others. */
  readonly session: string
  /** Requests that had changed the disk by then, since it was opened. */
  readonly generation: number
  /** Nothing was on its way to the image, and everything was durable. */
  readonly clean: boolean
  /** The guest was told of a write cache, and relies on its flushes. */
  readonly guestFlushes: boolean
}

const MARK = 'vmblock disk'
const VERSION = 1

/** The moment as v86 can save it: primitives in an array. */
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

/** @throws BlockError EINVAL for what {@link encodeMoment} did not make */
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
 * Whether a state that was saved at `then` may be restored on the disk of `now`.
 *
 * @throws BlockError EINVAL that says what differs
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
