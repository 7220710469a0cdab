/** Creates QED images. */
import {
  alignUp,
  BlockError,
  type CreateContext,
  type Creation,
  type OptionValues,
  SECTOR,
  size,
  text,
} from '@vmblock/block-core/driver'
import {
  CLUSTER_SIZE,
  Feature,
  HEADER,
  HEADER_BYTES,
  isClusterSize,
  isImageSize,
  isTableSize,
  MAGIC,
  MAX_BACKING_NAME,
  maxImageSize,
  TABLE_SIZE,
} from './format/header.ts'

/** Default number of clusters of a table. */
const DEFAULT_TABLE_SIZE = 4

/** With the texts of QEMU. */
// biome-ignore format: a table
const options = {
  size:         size('Virtual disk size'),
  backing_file: text('File name of a base image'),
  backing_fmt:  text('Image format of the base image'),
  cluster_size: size('Cluster size (in bytes)', 65536),
  table_size:   size('L1/L2 table size (in clusters)'),
}

type CreateOptions = OptionValues<typeof options>

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * The header of a new image, with the backing file's name behind it.
 *
 * @throws BlockError EINVAL in QEMU's words
 */
function headerOf(given: CreateOptions): Uint8Array {
  if (given.size === undefined) throw invalid('Image creation needs a size parameter')
  const imageSize = alignUp(given.size, SECTOR)
  const { cluster_size: clusterSize, table_size: tableSize = DEFAULT_TABLE_SIZE } = given
  if (!isClusterSize(clusterSize))
    throw invalid(
      `QED cluster size must be within range [${CLUSTER_SIZE.least}, ${CLUSTER_SIZE.most}] and power of 2`,
    )
  if (!isTableSize(tableSize))
    throw invalid(
      `QED table size must be within range [${TABLE_SIZE.least}, ${TABLE_SIZE.most}] and power of 2`,
    )
  if (!isImageSize(imageSize, clusterSize, tableSize))
    throw invalid(
      `QED image size must be a non-zero multiple of cluster size and less than ${maxImageSize(clusterSize, tableSize)} bytes`,
    )
  const { backing_file: backingFile, backing_fmt: backingFormat } = given
  const name = new TextEncoder().encode(backingFile ?? '')
  if (name.length > MAX_BACKING_NAME) throw invalid('Backing file name too long')
  const bytes = new Uint8Array(HEADER_BYTES + name.length)
  HEADER.write(bytes, {
    magic: MAGIC,
    clusterSize,
    tableSize,
    headerSize: 1,
    features: backingFile === undefined ? 0n : featuresFor(backingFormat),
    compatFeatures: 0n,
    autoclearFeatures: 0n,
    l1TableOffset: clusterSize,
    imageSize,
    backingNameOffset: backingFile === undefined ? 0 : HEADER_BYTES,
    backingNameSize: name.length,
  })
  bytes.set(name, HEADER_BYTES)
  return bytes
}

/**
 * Formats `file`: the header with the backing file's name, and an empty L1 table, byte for byte as in QEMU.
 * The header is written last, so that an interrupted creation leaves no image.
 *
 * @throws BlockError EINVAL in QEMU's words
 */
async function create({ file, options: given }: CreateContext<CreateOptions>): Promise<void> {
  const bytes = headerOf(given)
  const { cluster_size: clusterSize, table_size: tableSize = DEFAULT_TABLE_SIZE } = given
  // The length of the file determines which clusters are allocated, so old content must go. And the tables
  // rely on zeroes in bytes that were never written: files that cannot be emptied are refused.
  await file.truncate(0, { exact: true })
  await file.truncate((1 + tableSize) * clusterSize)
  await file.write(0, bytes)
  await file.flush()
}

const featuresFor = (backingFormat: string | undefined): bigint =>
  Feature.backingFile | (backingFormat === 'raw' ? Feature.backingIsRaw : 0n)

/** The making of QED images. */
export const qedCreation: Creation<typeof options> = {
  options,
  check: async (given) => void headerOf(given),
  create,
}
