/** Opens an {@link Image} from a file, and prepares it for the first write. */
import { BlockError, type OpenContext, UNCONTROLLED } from '@vmblock/block-core/driver'
import { Feature, HEADER_BYTES, type Header, parseHeader } from './format/header.ts'
import type { QedClock } from './idle-timer.ts'
import { Image } from './image.ts'
import { loadUpkeep } from './load-upkeep.ts'

type File = Awaited<ReturnType<OpenContext<unknown>['requireChild']>>

/**
 * Opens an image. One that needs a check is repaired before it can be written; a read-only open leaves it as
 * it is.
 *
 * @throws BlockError in QEMU's words
 */
export async function openImage(context: OpenContext<unknown>, clock: QedClock): Promise<Image> {
  const file = await context.requireChild('file')
  const header = await readHeader(file)
  const backingName = await readBackingName(file, header)
  const isRaw = (header.features & Feature.backingIsRaw) !== 0n
  const image = new Image({
    nodeName: context.nodeName,
    header,
    file,
    backingName,
    writable: !context.readOnly,
    events: context.events,
    clock,
  })
  image.backing = await context.child(
    'backing',
    backingName === undefined ? undefined : { filename: backingName, driver: isRaw ? 'raw' : undefined },
  )
  if (!context.readOnly && !context.checkMode) await becomeWritable(image)
  return image
}

async function readHeader(file: File): Promise<Header> {
  const bytes = new Uint8Array(Math.min(HEADER_BYTES, file.size))
  await file.read(0, bytes)
  return parseHeader(bytes, file.size)
}

async function readBackingName(file: File, header: Header): Promise<string | undefined> {
  if ((header.features & Feature.backingFile) === 0n || header.backingNameSize === 0) return undefined
  const bytes = new Uint8Array(header.backingNameSize)
  await file.read(header.backingNameOffset, bytes)
  // The name ends at a zero byte, if there is one.
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

/**
 * Prepares the image for its first write: clears autoclear bits, none of which is known, and repairs entries
 * that a crash left. Everything that was read before is read again.
 *
 * @throws BlockError EIO `Image corrupted` if something cannot be repaired
 */
export async function becomeWritable(image: Image): Promise<void> {
  image.drop()
  image.header = await readHeader(image.file)
  image.needsRepair = image.needCheck
  image.measureFile()
  if (image.header.autoclearFeatures !== 0n) {
    await image.writeHeader({ ...image.header, autoclearFeatures: 0n })
    await image.flushFile()
  }
  if (!image.needsRepair) return
  const { checkImage } = await loadUpkeep()
  const report = await checkImage(image, { repair: 'all' }, UNCONTROLLED)
  image.events.repair(report)
  // QEMU continues if two guest clusters share a host cluster, and then a write to one changes the other.
  if (image.needsRepair) throw new BlockError('EIO', 'Image corrupted', { node: image.nodeName })
}
