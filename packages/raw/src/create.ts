/** Creates raw images: sets the size of a file, and allocates as much of it as the options ask for. */
import {
  alignUp,
  BlockError,
  type CreateContext,
  type Creation,
  filePreallocation,
  forgetContent,
  type MeasureContext,
  type MeasureReport,
  type OptionValues,
  type Preallocation,
  SECTOR,
  size,
} from '@vmblock/block-core/driver'

/** Done by the file: a raw image is nothing more. */
const preallocation = { ...filePreallocation, default: 'off' as Preallocation, isForFile: true }

const options = {
  size: size('Virtual disk size'),
  preallocation,
}

type RawOptions = OptionValues<typeof options>

/** @throws BlockError as {@link create} does for the options */
async function check({ size: bytes, preallocation: mode }: RawOptions): Promise<void> {
  if (bytes === undefined) throw new BlockError('EINVAL', 'Image creation needs a size parameter')
  if (mode === 'metadata') throw new BlockError('ENOTSUP', `Unsupported preallocation mode: ${mode}`)
}

/**
 * Gives an empty file its size: whole sectors, as in QEMU.
 *
 * @throws BlockError EINVAL without a size; ENOTSUP for a preallocation mode that the file does not support
 */
async function create({ file, options }: CreateContext<RawOptions>): Promise<void> {
  await check(options)
  const { preallocation } = options
  if (!file.growable && preallocation !== 'off')
    throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
  // Old content would be visible; a device keeps its size.
  if (file.growable && file.size > 0) await file.truncate(0)
  await file.truncate(alignUp(options.size!, SECTOR), { preallocation, exact: file.growable })
  await forgetContent(file)
}

/** The content alone, in whole sectors: holes do not count, as in QEMU. */
async function measure({ source, options }: MeasureContext<RawOptions>): Promise<MeasureReport> {
  const bytes = alignUp(source ? source.size : (options.size ?? 0), SECTOR)
  return { requiredBytes: bytes, fullyAllocatedBytes: bytes }
}

/** The making of raw images. */
export const rawCreation: Creation<typeof options> = { options, check, measure, create }
