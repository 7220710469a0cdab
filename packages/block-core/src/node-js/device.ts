/** The size of an open device, and whether it is writable. Needs no system calls that Node lacks. */
import { readFile, type Stats, statSync } from 'node:fs'
import { promisify } from 'node:util'
import { SECTOR } from '../base/bits.ts'
import { sharedBuffers } from './aligned-buffers.ts'
import { pread } from './host-fs.ts'

/** Bytes read at a time when probing for the end: a multiple of every device's block size. */
const BLOCK = 4096
/** The last block whose byte offset is a safe integer. */
const LAST = Math.floor(Number.MAX_SAFE_INTEGER / BLOCK) - 1

/** `\\.\PhysicalDrive0`, `//./C:`, `d:`: QEMU's `is_windows_drive`. */
const WINDOWS_DEVICE = /^(?:\\\\\.\\|\/\/\.\/|[a-z]:$)/i

/** Whether a path leads to a device, or to what Windows takes for one. Never waits for the device. */
export function isDevicePath(path: string, platform: string = process.platform): boolean {
  if (platform === 'win32' && WINDOWS_DEVICE.test(path)) return true
  const stats = statOf(path)
  return stats !== undefined && (stats.isBlockDevice() || stats.isCharacterDevice())
}

/** Whether a path leads to a block device. A non-blocking open would hide that it has no medium. */
export const isBlockDevicePath = (path: string): boolean => statOf(path)?.isBlockDevice() === true

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    // Opening the path will report what is wrong with it.
    return undefined
  }
}

/** The major and minor number in Linux's `st_rdev`, spelled as in `/sys/dev/block`. */
export function deviceNumbers(rdev: number): string {
  const high = Math.floor(rdev / 2 ** 32)
  const low = rdev % 2 ** 32
  const major = ((low >>> 8) & 0xfff) + Math.floor(high / 2 ** 12) * 2 ** 12
  const minor = (low & 0xff) + (low >>> 20) * 2 ** 8 + (high % 2 ** 12) * 2 ** 20
  return `${major}:${minor}`
}

/** Reads one of Linux's small files about a block device; undefined if there is none. */
export type DeviceFile = (rdev: number, name: 'size' | 'ro') => Promise<string | undefined>

const readText = promisify(readFile)

/** Reads from `/sys`, which containers may lack. */
export const deviceFile: DeviceFile = async (rdev, name) => {
  try {
    return (await readText(`/sys/dev/block/${deviceNumbers(rdev)}/${name}`, 'latin1')).trim()
  } catch {
    return undefined
  }
}

/** The size of an open device, in bytes. Character devices have 0, as in QEMU on Linux: they have no end. */
export async function deviceSize(
  fd: number,
  stats: Pick<Stats, 'rdev' | 'isBlockDevice'>,
  read: DeviceFile = deviceFile,
): Promise<number> {
  if (!stats.isBlockDevice()) return 0
  // Always in units of 512, whatever the sectors of the device are.
  const sectors = Number((await read(stats.rdev, 'size')) ?? Number.NaN)
  if (Number.isSafeInteger(sectors * SECTOR)) return sectors * SECTOR
  return sharedBuffers.borrow((buffer) => endOf((block) => pread(fd, buffer, 0, BLOCK, block * BLOCK)))
}

/**
 * Finds the end of a device by reading.
 *
 * @param readBlock reads a block, and returns the number of bytes read: 0 beyond the end
 * @returns bytes; 0 for a device without end
 */
export async function endOf(readBlock: (block: number) => Promise<number>): Promise<number> {
  if ((await readBlock(0)) === 0) return 0
  let [there, beyond] = [0, 1]
  while ((await readBlock(beyond)) > 0) {
    if (beyond === LAST) return 0
    there = beyond
    beyond = Math.min(beyond * 2, LAST)
  }
  while (beyond - there > 1) {
    const middle = Math.floor((there + beyond) / 2)
    if ((await readBlock(middle)) > 0) there = middle
    else beyond = middle
  }
  return there * BLOCK + (await readBlock(there))
}

/** Whether Linux marks an open device as read-only, although it can be opened for writing. */
export async function isReadOnlyDevice(
  stats: Pick<Stats, 'rdev' | 'isBlockDevice'>,
  read: DeviceFile = deviceFile,
): Promise<boolean> {
  return stats.isBlockDevice() && (await read(stats.rdev, 'ro')) === '1'
}
