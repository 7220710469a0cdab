/** Opens an {@link Image} from a file: header, tables, children, and the steps before the first write. */
import { type BlockChild, BlockError, type OpenContext } from '@vmblock/block-core/driver'
import type { RareHeaderCode } from '../format/extensions.ts'
import { Autoclear, Incompatible, KNOWN_AUTOCLEAR } from '../format/features.ts'
import { geometryOf } from '../format/geometry.ts'
import type { Header } from '../format/header.ts'
import { type Codecs, codecFor } from '../image/cluster-codec.ts'
import type { ImageEncryption } from '../image/encryption.ts'
import { Image, type MaintenanceCode } from '../image/image.ts'
import { readHeader, readTables, requireSound } from '../image/read-header.ts'
import { type RareOptionsCode, type RuntimeOptions, resolveSettings } from '../options/options.ts'
import { DataFileStore } from '../store/data-file-store.ts'
import { ImageStore } from '../store/image-store.ts'

/** The code that is loaded when an image needs it, as far as opening calls it. */
export interface OpeningCode extends MaintenanceCode, RareOptionsCode, RareHeaderCode {
  /** The encryption of an image: see encryption/open-encryption.ts. @throws BlockError */
  openEncryption(
    context: OpenContext<RuntimeOptions>,
    header: Header,
    file: BlockChild,
  ): Promise<ImageEncryption>
}

/**
 * Opens an image. A dirty image that is opened for writing is repaired first; one that cannot be repaired is
 * refused and stays dirty.
 *
 * @throws BlockError in QEMU's words
 */
export async function openImage(
  context: OpenContext<RuntimeOptions>,
  codecs: Codecs,
  loadMaintenance: () => Promise<OpeningCode>,
): Promise<Image> {
  const file = await context.requireChild('file')
  const header = await readHeader(file, context.checkMode, loadMaintenance)
  if (!context.readOnly && !context.checkMode) requireSound(header, context.nodeName)
  const { options } = context
  const encryption =
    header.cryptMethod + (options['encrypt.format'] ?? options['encrypt.keySecret'] ?? '').length > 0
      ? await (await loadMaintenance()).openEncryption(context, header, file)
      : undefined
  const extendedL2 = (header.incompatible & Incompatible.extendedL2) !== 0n
  const geometry = geometryOf(header.clusterBits, header.refcountOrder, extendedL2)
  const settings = await resolveSettings(context, header, geometry, loadMaintenance)
  const { l1, refcountTable } = await readTables(file, header)
  const dataFile = await openDataFile(context, header)
  const image = new Image({
    settings,
    header,
    geometry,
    file,
    hasDataFile: dataFile !== undefined,
    encryption,
    storeOf: (of) => {
      const store = dataFile ? new DataFileStore(of, dataFile) : new ImageStore(of)
      return encryption?.around(store) ?? store
    },
    codec: codecFor(header.compressionType, codecs),
    events: context.events,
    observe: context.observe,
    l1,
    refcountTable,
    loadMaintenance,
  })
  const { backingFile, extensions } = header
  image.backing = await context.child(
    'backing',
    backingFile === undefined ? undefined : { filename: backingFile, driver: extensions.backingFormat },
  )
  if (!context.readOnly) await (context.checkMode ? clearAutoclear(image) : becomeWritable(image))
  if (extensions.bitmaps || extensions.staleBitmaps) await (await loadMaintenance()).openBitmaps(image)
  image.renewCaches()
  return image
}

async function openDataFile(
  context: OpenContext<RuntimeOptions>,
  header: Header,
): Promise<BlockChild | undefined> {
  const { dataFile } = header.extensions
  const hasDataFile = (header.incompatible & Incompatible.dataFile) !== 0n
  // The name in the header is a plain file name, never a protocol (CVE-2024-4467).
  const implicit = hasDataFile && dataFile !== undefined ? { filename: dataFile, driver: 'file' } : undefined
  const child = await context.child('data-file', implicit)
  const fail = (message: string): BlockError => new BlockError('EINVAL', message, { node: context.nodeName })
  if (!hasDataFile) {
    if (child) throw fail("'data-file' can only be set for images with an external data file")
    if ((header.autoclear & Autoclear.dataFileRaw) !== 0n) throw fail('data-file-raw requires a data file')
    return undefined
  }
  if (!child) throw fail("'data-file' is required for this image")
  return child
}

/**
 * Prepares the image for its first write: clears autoclear bits of features that this library does not keep
 * up to date, and repairs refcounts that may lag.
 */
export async function becomeWritable(image: Image): Promise<void> {
  const { header } = image
  requireSound(header, image.settings.nodeName)
  // Loaded before anything is changed: if that fails, the image stays as it is, and dirty.
  const repair = image.dirtyBit.isSet ? await image.loadMaintenance() : undefined
  // Writes will need to know where the tables of snapshots are; and the header may have to be written.
  if (header.nbSnapshots > 0 || keptAutoclear(header) !== header.autoclear) await image.loadMaintenance()
  image.writable = true
  await clearAutoclear(image)
  await repair?.repairDirty(image)
}

/** Clears the autoclear bits of data that a write would put out of date. */
async function clearAutoclear(image: Image): Promise<void> {
  const autoclear = keptAutoclear(image.header)
  if (autoclear !== image.header.autoclear) await image.headerWriter.rewrite({ autoclear }, 'either is valid')
}

const keptAutoclear = ({ autoclear }: Header): bigint => autoclear & KNOWN_AUTOCLEAR
