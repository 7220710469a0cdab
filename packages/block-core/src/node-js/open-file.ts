/** Opening a host file: flags, checks, error messages, and the choice of the engine. */
import { constants, type Stats } from 'node:fs'
import { BlockError, isBlockError } from '../base/errors.ts'
import { deviceSize, isBlockDevicePath, isReadOnlyDevice } from './device.ts'
import { opensWithoutDirect, probeAlignment } from './direct-engine.ts'
import { fromHostError } from './host-error.ts'
import { close, fstat, open } from './host-fs.ts'
import type { IoEngine } from './io-engine.ts'

/** An open host file, and the engine that reaches its bytes. */
export interface OpenFile {
  readonly fd: number
  readonly engine: IoEngine
  /** O_DIRECT is set. */
  readonly direct: boolean
  /** Bytes: offsets and lengths must be multiples of this. */
  readonly alignment: number
  /** The file's stats at the time of opening. */
  readonly stats: Stats
  /** The size at the time of opening, in bytes; devices do not report it in `stats`. */
  readonly size: number
}

/** The drivers of files and devices. */
export type FileKind = 'file' | 'host_device' | 'host_cdrom'

/** The identity of a file, for `NodeOps.identity`; several device files may lead to one device. */
export const identityOf = (stats: Pick<Stats, 'dev' | 'ino' | 'rdev' | 'isBlockDevice'>): string =>
  stats.isBlockDevice() ? `device:${stats.rdev}` : `file:${stats.dev}:${stats.ino}`

/** Puts the file's name before an error's message. */
const failureIn = (what: string, { code, message, hint }: BlockError): BlockError =>
  new BlockError(code, `${what}: ${message}`, hint === undefined ? {} : { hint })

/** How to open a file. */
export interface OpenMode {
  readonly driver: FileKind
  readonly readOnly: boolean
  readonly direct: boolean
  /** Makes the engine of a file that is not opened with O_DIRECT. */
  makeEngine(): IoEngine
  /** Makes the engine of a file that is opened with O_DIRECT. `alignment` in bytes. */
  makeDirectEngine(alignment: number): IoEngine
}

/** The error for a failed open or create, in QEMU's words (`qemu_open_internal` of util/osdep.c). */
export const openFailure = (action: 'open' | 'create', filename: string, error: unknown): BlockError =>
  fromHostError(error, `Could not ${action} '${filename}'`)

/** @throws BlockError EINVAL if the driver does not open files of this kind */
export function requireKind(driver: FileKind, filename: string, stats: Stats): void {
  const isDevice = stats.isBlockDevice() || stats.isCharacterDevice()
  if (driver === 'file' ? stats.isFile() : isDevice) return
  const kind = driver === 'file' ? 'a regular file' : 'either a character or block device'
  throw new BlockError('EINVAL', `'${driver}' driver requires '${filename}' to be ${kind}`)
}

/**
 * Opens a regular file, or a device.
 *
 * @throws BlockError ENOENT, EACCES, EISDIR, ... `Could not open 'PATH': ...`; EINVAL for a file that the
 * driver does not open, or if the file system refuses O_DIRECT
 */
export async function openFile(filename: string, mode: OpenMode): Promise<OpenFile> {
  const { driver, readOnly } = mode
  if (mode.direct && constants.O_DIRECT === undefined)
    throw new BlockError('ENOTSUP', `Could not open '${filename}': this system has no O_DIRECT`)
  if (driver !== 'file' && process.platform === 'win32')
    throw new BlockError('ENOTSUP', `Could not open '${filename}': devices of Windows cannot be opened here`)
  // O_NONBLOCK does nothing for a regular file, and keeps the open of a FIFO from blocking. With it a drive
  // without a medium opens, too.
  const waits = driver === 'host_device' && isBlockDevicePath(filename)
  const flags = (readOnly ? constants.O_RDONLY : constants.O_RDWR) | (waits ? 0 : (constants.O_NONBLOCK ?? 0))
  const fd = await openFd(filename, flags, mode.direct)
  try {
    const stats = await fstat(fd)
    requireKind(driver, filename, stats)
    if (!readOnly && (await isReadOnlyDevice(stats)))
      throw new BlockError('EACCES', 'The device is not writable: Permission denied')
    const size = driver === 'file' ? stats.size : await deviceSize(fd, stats)
    if (!mode.direct) return { fd, stats, size, direct: false, alignment: 1, engine: mode.makeEngine() }
    const alignment = await probeAlignment(fd).catch((error: unknown) => {
      throw isBlockError(error) ? failureIn(`Could not open '${filename}'`, error) : error
    })
    return { fd, stats, size, direct: true, alignment, engine: mode.makeDirectEngine(alignment) }
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
