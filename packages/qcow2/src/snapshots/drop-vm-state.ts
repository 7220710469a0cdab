/**
 * Drops machine state from the area behind the disk, where it is of no use once a snapshot has it: it would be shared with
 * every later snapshot.
 */
import { viewOf } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { makeDurable } from './change.ts'
import { writeL1 } from './copied-flags.ts'
import { removeReferences } from './references.ts'
import { hasVmState, vmStateOffset } from './vm-state.ts'

/**
 * Drops it. Runs under the image's lock, with no request in flight, on an image that was brought to disk.
 *
 * @throws the error of the file: then it may be there, or not
 */
export async function dropVmState(image: Image): Promise<void> {
  if (!hasVmState(image)) return
  const from = (vmStateOffset(image) / image.geometry.l2Coverage) * 8
  const dropped = image.l1.bytes.slice(from)
  image.l1.bytes.fill(0, from)
  image.overlaps.forget()
  await writeL1(image, { from, to: image.l1.bytes.length })
  await makeDurable(image)
  image.l2Tables.clear()
  await removeReferences(image, viewOf(dropped))
}
