/** Changing CDs and floppies: v86's own methods for that accept only buffers, and throw for other disks. */
import { BlockError } from '@vmblock/block-core'
import { oneOfWords } from '@vmblock/block-core/driver'
import { requireDisk } from '../disk/check-disk.ts'
import type { V86Disk } from './v86-disk.ts'

interface Devices {
  readonly cdrom?: { set_cdrom?(disk: V86Disk): void }
  readonly fdc?: {
    readonly drives?: readonly {
      readonly buffer: unknown
      insert_disk?(disk: V86Disk, readOnly: boolean): boolean
      eject_disk(): void
    }[]
  }
}

function devicesOf(emulator: unknown): Devices {
  const { v86 } = (emulator ?? {}) as { v86?: { cpu?: { devices?: Devices } } }
  const devices = v86?.cpu?.devices
  if (!devices) throw new BlockError('ENOTSUP', 'the emulator is not loaded yet, or is no V86')
  return devices
}

const requireDrive = oneOfWords(0, 1)

/** Puts a disk into the CD drive; `emulator.eject_cdrom()` takes it out. @throws BlockError ENOTSUP */
export async function insertCdrom(emulator: unknown, disk: V86Disk): Promise<void> {
  requireDisk(disk, 'disk')
  const { cdrom } = devicesOf(emulator)
  if (typeof cdrom?.set_cdrom !== 'function')
    throw new BlockError('ENOTSUP', 'the emulator has no CD drive that disks can be put into')
  await disk.load()
  cdrom.set_cdrom(disk)
}

/**
 * Puts a disk into a floppy drive; `emulator.eject_fda()` takes it out.
 *
 * @param drive 0: fda, 1: fdb
 * @throws BlockError ENOTSUP if there is no such drive; EINVAL for a size that no floppy has
 */
export async function insertFloppy(emulator: unknown, disk: V86Disk, drive: 0 | 1 = 0): Promise<void> {
  requireDisk(disk, 'disk')
  requireDrive(drive, 'drive')
  const floppy = devicesOf(emulator).fdc?.drives?.[drive]
  if (typeof floppy?.insert_disk !== 'function')
    throw new BlockError('ENOTSUP', 'the emulator has no floppy drive that disks can be put into')
  await disk.load()
  const taken = floppy.insert_disk(disk, disk.readOnly)
  if (taken && floppy.buffer === disk) return
  // v86 pads other sizes by copying a buffer that only its own disks have: the floppy would be empty.
  floppy.eject_disk()
  throw new BlockError('EINVAL', `v86 knows no floppy of ${disk.size} bytes`)
}
