/** What both entries export beside their functions: the same names in Node.js and in a page. */
export type { BitmapInfo, Bitmaps, DirtyRange, NewBitmap } from '@vmblock/block-core'
export type { CheckFinding, CompactReport, MeasureReport } from '@vmblock/block-core/open'
export { BlockError, type BlockErrorCode, type ImageResolver, isBlockError } from '@vmblock/block-core/open'
export type { Allow, OpenFileHandle } from '@vmblock/sources'
export type { DiskSnapshots, SnapshotReference } from './disk/snapshots.ts'
export { type DiskParts, type ResizeOptions, VirtualDisk } from './disk/virtual-disk.ts'
export type { CheckResult, DiskCheckOptions } from './images/check-image.ts'
export type { DiskInfo, DiskSnapshot } from './images/describe.ts'
export type { RebaseOptions } from './images/rebase-image.ts'
export type { SnapshotCreation } from './images/snapshots.ts'
export type { JobSettings, Progress } from './jobs/run-job.ts'
export type { CheckOptions } from './operations/check-source.ts'
export type { ConvertOptions } from './operations/convert.ts'
export type { CreateOptions, MakingOptions } from './operations/create.ts'
export type { InfoOptions } from './operations/describe-source.ts'
export type { MeasureOptions } from './operations/measure.ts'
export type { OpenOptions } from './operations/open.ts'
export type {
  CreateFormat,
  CreatePreallocation,
  CreationByFormat,
  CreationOptions,
  DiskEncryption,
  Qcow2Creation,
  QedCreation,
  RawCreation,
} from './options/creation.ts'
export type { Passphrase, Passphrases } from './options/passphrases.ts'
export type { NodeSource, PickedFile, Source, Target } from './platform/source.ts'
export type { Extent } from './streams/extents.ts'
export type { RangeOptions } from './streams/range.ts'
export type { ReadableOptions } from './streams/readable.ts'
export type { WritableOptions } from './streams/writable.ts'
