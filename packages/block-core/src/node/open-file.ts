/** Opening a host file: the flags, the checks, the words of every refusal, and the engine that fits. */
import { constants, type Stats } from 'node:fs'
import { fromHostError } from '../errno.ts'
import { BlockError, isBlockError } from '../errors.ts'
import { opensWithoutDirect, probeAlignment } from './direct-engine.ts'
import { close, fstat, open } from './host-fs.ts'
import type { IoEngine } from './io-engine.ts'

/** A host file that is open, and how to reach its bytes. */
export interface OpenFile {
  readonly fd: number
  readonly engine: IoEngine
  /** O_DIRECT is set. */
  readonly direct: boolean
  /** Bytes: what offsets and lengths must be multiples of. */
  readonly alignment: number
  /** As they were when it was opened. */
  readonly stats: Stats
}

/** A failure that says what is missing, and of which file. */
const failureIn = (what: string, { code, message, hint }: BlockError): BlockError =>
  new BlockError(code, `${what}: ${message}`, hint === undefined ? {} : { hint })

/** The file itself, by whatever name, as `NodeOps.place` tells it. */
export const placeOf = ({ dev, ino }: Pick<Stats, 'dev' | 'ino'>): string => `file:${dev}:${ino}`

/** How to open a file. */
export interface OpenMode {
  readonly readOnly: boolean
  readonly direct: boolean
  /** Makes the engine of a file that is not opened with O_DIRECT. */
  makeEngine(): IoEngine
  /** Makes the engine of one that is. `alignment` in bytes. */
  makeDirectEngine(alignment: number): IoEngine
}

/** What the host said of a failed open or create, as QEMU words it (`qemu_open_internal` of util/osdep.c). */
export function openFailure(action: 'open' | 'create', filename: string, error: unknown): BlockError {
  const what = `Could not ${action} '${filename}'`
  const known = fromHostError(error, what)
  const code = (error as { code?: unknown }).code
  // Sockets and devices without a driver: an errno that the project has no name for.
  return code === 'ENXIO'
    ? new BlockError('EIO', `${what}: No such device or address`, { cause: error })
    : known
}

/**
 * Opens a regular file.
 *
 * @throws BlockError ENOENT, EACCES, EISDIR, ... `Could not open 'PATH': ...`; EINVAL for what is no regular
 * file, or where the file system refuses O_DIRECT
 */
export async function openFile(filename: string, mode: OpenMode): Promise<OpenFile> {
  if (mode.direct && constants.O_DIRECT === undefined)
    throw new BlockError('ENOTSUP', `Could not open '${filename}': this system has no O_DIRECT`)
  // O_NONBLOCK means nothing for a regular file, and keeps a FIFO from holding up the open.
  const flags = (mode.readOnly ? constants.O_RDONLY : constants.O_RDWR) | (constants.O_NONBLOCK ?? 0)
  const fd = await openFd(filename, flags, mode.direct)
  try {
    const stats = await fstat(fd)
    if (!stats.isFile())
      throw new BlockError('EINVAL', `'file' driver requires '${filename}' to be a regular file`)
    if (!mode.direct) return { fd, stats, direct: false, alignment: 1, engine: mode.makeEngine() }
    const alignment = await probeAlignment(fd).catch((error: unknown) => {
      throw isBlockError(error) ? failureIn(`Could not open '${filename}'`, error) : error
    })
    return { fd, stats, direct: true, alignment, engine: mode.makeDirectEngine(alignment) }
  } catch (error) {
    await close(fd).catch(() => undefined)
    throw fromHostError(error, `Could not open '${filename}'`)
  }
}

async function openFd(filename: string, flags: number, direct: boolean): Promise<number> {
  try {
    return await open(filename, direct ? flags | constants.O_DIRECT : flags)
  } catch (error) {
    if (
      direct &&
      (error as { code?: unknown }).code === 'EINVAL' &&
      (await opensWithoutDirect(filename, flags))
    )
      throw new BlockError('EINVAL', `Could not open '${filename}': filesystem does not support O_DIRECT`, {
        cause: error,
      })
    throw openFailure('open', filename, error)
  }
}
