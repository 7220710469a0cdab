/** The settings of a new image: the options of `create`, checked in QEMU 7.2's order, with its messages. */
import {
  alignUp,
  BlockError,
  type CreateContext,
  isPowerOfTwo,
  type Preallocation,
  SECTOR,
} from '@vmblock/block-core/driver'
import {
  type Geometry,
  geometryOf,
  MAX_CLUSTER_BITS,
  MIN_CLUSTER_BITS,
  SUBCLUSTERS,
} from '../format/geometry.ts'
import type { CompressionType } from '../format/header.ts'
import type { CreateOptionValues } from './create-options.ts'

/** Options of `create` that are consistent. Sizes are bytes. */
export interface CreateSettings {
  readonly version: 2 | 3
  readonly geometry: Geometry
  readonly size: number
  readonly extendedL2: boolean
  readonly preallocation: Preallocation
  readonly compressionType: CompressionType
  readonly lazyRefcounts: boolean
  readonly backingFile: string | undefined
  readonly backingFormat: string | undefined
  readonly hasDataFile: boolean
  readonly dataFileName: string | undefined
  readonly dataFileRaw: boolean
  /** Whether the data file holds the content of the new disk. */
  readonly keepsDataFile: boolean
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** The value for a word. @throws BlockError EINVAL, in QEMU's words, for an unknown one */
function word<T>(values: Readonly<Record<string, T>>, given: string, name: string): T {
  const value = Object.hasOwn(values, given) ? values[given] : undefined
  if (value === undefined) throw invalid(`Parameter '${name}' does not accept value '${given}'`)
  return value
}

const VERSIONS = { '0.10': 2, '1.1': 3, v2: 2, v3: 3 } as const
const PREALLOCATIONS = { off: 'off', metadata: 'metadata', falloc: 'falloc', full: 'full' } as const
const COMPRESSION_TYPES = { zlib: 'zlib', zstd: 'zstd' } as const

/** The longest format name that fits in its header extension, in bytes. */
const MAX_FORMAT_NAME = 15

/** Refuses features that version 2 does not have. */
function requireVersion3(version: 2 | 3, what: string): void {
  if (version < 3)
    throw invalid(`${what} supported with compatibility level 1.1 and above (use version=v3 or greater)`)
}

function checkClusterSize(clusterSize: number, extendedL2: boolean): void {
  const [min, max] = [2 ** MIN_CLUSTER_BITS, 2 ** MAX_CLUSTER_BITS]
  if (!isPowerOfTwo(clusterSize) || clusterSize < min || clusterSize > max)
    throw invalid(`Cluster size must be a power of two between ${min} and ${max / 1024}k`)
  if (extendedL2 && clusterSize < min * SUBCLUSTERS)
    throw invalid(
      `Extended L2 entries are only supported with cluster sizes of at least ${min * SUBCLUSTERS} bytes`,
    )
}

function checkRefcountBits(bits: number, version: 2 | 3): void {
  if (bits > 64 || !isPowerOfTwo(bits))
    throw invalid('Refcount width must be a power of two and may not exceed 64 bits')
  if (version < 3 && bits !== 16)
    throw invalid(
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)',
    )
}

/**
 * Checks the options of `create`. The size is rounded up to whole sectors, as QEMU's tools do silently.
 *
 * @throws BlockError EINVAL
 */
export function settingsOf({
  options,
  dataFile,
}: Omit<CreateContext<CreateOptionValues>, 'file'>): CreateSettings {
  const version = word<2 | 3>(VERSIONS, options.compat ?? 'v3', 'version')
  const asked = word<Preallocation>(PREALLOCATIONS, options.preallocation ?? 'off', 'preallocation')
  const compressionType = word<CompressionType>(
    COMPRESSION_TYPES,
    options.compression_type,
    'compression-type',
  )
  if (options.size === undefined) throw invalid('Image creation needs a size parameter')
  const { backing_file: backingFile, backing_fmt: backingFormat, extended_l2: extendedL2 } = options
  const dataFileName =
    options.data_file ?? (dataFile && dataFile.filename !== '' ? dataFile.filename : undefined)
  const dataFileRaw = options.data_file_raw ?? false
  const hasDataFile = options.data_file !== undefined || dataFile !== undefined

  if (extendedL2) requireVersion3(version, 'Extended L2 entries are only')
  checkClusterSize(options.cluster_size, extendedL2)
  if (backingFile !== undefined && asked !== 'off' && !extendedL2)
    throw invalid('Backing file and preallocation can only be used at the same time if extended_l2 is on')
  if (backingFormat !== undefined && backingFile === undefined)
    throw invalid('Backing format cannot be used without backing file')
  if (backingFormat !== undefined && backingFormat.length > MAX_FORMAT_NAME)
    throw invalid(`Parameter 'backing-fmt' does not accept value '${backingFormat}'`)
  if (options.lazy_refcounts) requireVersion3(version, 'Lazy refcounts only')
  checkRefcountBits(options.refcount_bits, version)
  if (dataFileRaw && !hasDataFile) throw invalid('data-file-raw requires data-file')
  if (dataFileRaw && backingFile !== undefined)
    throw invalid('Backing file and data-file-raw cannot be used at the same time')
  checkKept(options, hasDataFile, asked)
  if (hasDataFile) requireVersion3(version, 'External data files are only')
  if (compressionType !== 'zlib') requireVersion3(version, 'Non-zlib compression type is only')

  return {
    version,
    geometry: geometryOf(Math.log2(options.cluster_size), Math.log2(options.refcount_bits), extendedL2),
    size: alignUp(options.size, SECTOR),
    extendedL2,
    // A raw data file must read the same with and without the metadata, so the mapping has to be complete.
    preallocation: dataFileRaw && asked === 'off' ? 'metadata' : asked,
    compressionType,
    lazyRefcounts: options.lazy_refcounts,
    backingFile,
    backingFormat,
    hasDataFile,
    dataFileName,
    dataFileRaw,
    keepsDataFile: options.keep_data_file ?? false,
  }
}

/** Refuses to keep a data file that is none, whose content would be overwritten, or could not be seen. */
function checkKept(options: CreateOptionValues, hasDataFile: boolean, preallocation: Preallocation): void {
  if (!options.keep_data_file) return
  if (!hasDataFile) throw invalid("Must not use 'keep_data_file=on' without 'data_file'")
  if (preallocation !== 'off' && preallocation !== 'metadata')
    throw invalid(
      "Preallocating more than only metadata would overwrite the external data file's content and is " +
        "therefore incompatible with 'keep_data_file=on'",
    )
  if (preallocation === 'off' && !options.data_file_raw)
    throw invalid(
      "'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on', or the file contents " +
        'will not be visible',
    )
}
