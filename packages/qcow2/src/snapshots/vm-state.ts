/** The area behind the disk that holds the state of a virtual machine, in clusters like those of the guest. */
import { isZero } from '@vmblock/block-core/driver'
import { l1EntriesFor } from '../format/geometry.ts'
import type { Image } from '../image/image.ts'
import { read } from '../requests/read.ts'
import { write } from '../requests/write.ts'

/** L1 entries of the disk; those of the area follow. */
const diskEntries = ({ geometry, header }: Image): number => l1EntriesFor(geometry, header.size)

/** Guest offset in bytes where the area begins: behind the last L2 table of the disk. */
export const vmStateOffset = (image: Image): number => diskEntries(image) * image.geometry.l2Coverage

/** Whether the disk holds machine state. */
export const hasVmState = (image: Image): boolean => !isZero(image.l1.bytes.subarray(diskEntries(image) * 8))

/** Fills `into` from byte `offset` of the VM state. */
export async function readVmState(image: Image, offset: number, into: Uint8Array): Promise<void> {
  const announced = image.file.debugEvent('vmstate_load')
  if (announced) await announced
  await read(image, vmStateOffset(image) + offset, into)
}

/** Writes `from` at byte `offset` of the VM state. */
export async function writeVmState(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const announced = image.file.debugEvent('vmstate_save')
  if (announced) await announced
  await write(image, vmStateOffset(image) + offset, from)
}
