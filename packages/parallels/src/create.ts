/** Creates Parallels images. */
import {
  alignUp,
  BlockError,
  type CreateContext,
  type Creation,
  type OptionValues,
  SECTOR,
  size,
} from '@vmblock/block-core/driver'
import { newHeader } from './format/header.ts'

/** With the texts of QEMU. */
// biome-ignore format: a table
const options = {
  size:         size('Virtual disk size'),
  cluster_size: size('Parallels image cluster size', 2 ** 20),
}

type CreateOptions = OptionValues<typeof options>

/** @throws BlockError EINVAL, EFBIG in QEMU's words */
function headerFor(given: CreateOptions): ReturnType<typeof newHeader> {
  if (given.size === undefined) throw new BlockError('EINVAL', 'Image creation needs a size parameter')
  return newHeader(alignUp(given.size, SECTOR), alignUp(given.cluster_size, SECTOR))
}

/**
 * Formats `file` as QEMU does: a header, and an empty BAT, which ends with a cluster. The header is written last, so that an
 * interrupted creation leaves no image.
 *
 * @throws BlockError EINVAL, EFBIG in QEMU's words; errors of the file
 */
async function create({ file, options: given }: CreateContext<CreateOptions>): Promise<void> {
  const { bytes, dataStart } = headerFor(given)
  await file.truncate(0, { exact: true })
  await file.truncate(dataStart)
  await file.write(0, bytes)
  await file.flush()
}

/** The making of Parallels images. */
export const parallelsCreation: Creation<typeof options> = {
  options,
  check: async (given) => void headerFor(given),
  create,
}
