/** What the system says of an open device: how large it is, and whether it can be written. Without system calls that Node lacks. */
import { readFile, type Stats, statSync } from 'node:fs'
import { promisify } from 'node:util'
import { SECTOR } from '../bits.ts'
import { sharedBuffers } from './aligned-buffers.ts'
import { pread } from './host-fs.ts'

/** Bytes that are read at a time while the end is looked for: whole blocks of every device. */
const BLOCK = 4096
/** The furthest block that a JavaScript number can name. */
const LAST = Math.floor(Number.MAX_SAFE_INTEGER / BLOCK) - 1

/** `\\.\PhysicalDrive0`, `//./C:`, `d:`: QEMU's `is_windows_drive`. */
const WINDOWS_DEVICE = /^(?:\\\\\.\\|\/\/\.\/|[a-z]:$)/i

/** Whether a path leads to a device: a block or a character device, or what Windows takes for one. Never waits for the device. */
export function isDevicePath(path: string, platform: string = process.platform): boolean {
  if (platform === 'win32' && WINDOWS_DEVICE.test(path)) return true
  const stats = statOf(path)
  return stats !== undefined && (stats.isBlockDevice() || stats.isCharacterDevice())
}

/** Whether a path leads to a block device. Opening one without waiting would hide that it has no medium. */
export const isBlockDevicePath = (path: string): boolean => statOf(path)?.isBlockDevice() === true

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    // What is wrong with the path is told by who opens it.
    return undefined
  }
}

/** Major and minor number in Linux's `st_rdev`, as the names in `/sys/dev/block` have them. */
export function deviceNumbers(rdev: number): string {
  const high = Math.floor(rdev / 2 ** 32)
  const low = rdev % 2 ** 32
  const major = ((low >>> 8) & 0xfff) + Math.floor(high / 2 ** 12) * 2 ** 12
  const minor = (low & 0xff) + (low >>> 20) * 2 ** 8 + (high % 2 ** 12) * 2 ** 20
  return `${major}:${minor}`
}

/** What Linux says of a block device in one of its small files; undefined where there is none. */
export type DeviceFile = (rdev: number, name: 'size' | 'ro') => Promise<string | undefined>

const readText = promisify(readFile)

/** From `/sys`, which containers may lack. */
export const deviceFile: DeviceFile = async (rdev, name) => {
  try {
    return (await readText(`/sys/dev/block/${deviceNumbers(rdev)}/${name}`, 'latin1')).trim()
  } catch {
    return undefined
  }
}

/** Bytes of an open device. A character device has none, as in QEMU on Linux: there is no end that could be found. */
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
 * Looks for where reading ends.
 *
 * @param readBlock reads a block, and tells how many bytes of it there are: 0 beyond the end
 * @returns bytes; 0 for what has no end
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

/** Whether an open device is one that Linux lets nobody write to, though it can be opened for that. */
export async function isReadOnlyDevice(
  stats: Pick<Stats, 'rdev' | 'isBlockDevice'>,
  read: DeviceFile = deviceFile,
): Promise<boolean> {
  return stats.isBlockDevice() && (await read(stats.rdev, 'ro')) === '1'
}
