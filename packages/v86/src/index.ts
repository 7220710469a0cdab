/**
 * Disks for emulators: `v86Disk` for v86, and a sector device for others.
 * @module
 */

export {
  type BlobSource,
  type DiskSource,
  type FileSource,
  type ImageSource,
  type IndexedDbSource,
  type MemorySource,
  type OpfsSource,
  type OverlaySource,
  openSource,
  type SourceFile,
  type SourceKit,
  type SourceOptions,
  type UrlSource,
  type WorkerSource,
} from '@vmblock/sources'
export { BufferedDisk } from './disk/buffered-disk.ts'
export { type Clock, hostClock } from './disk/clock.ts'
export type {
  DiskErrorReport,
  DiskEvents,
  DiskOperation,
  DiskProgress,
  DiskStatistics,
} from './disk/disk-events.ts'
export type { DiskOptions, Durability } from './disk/disk-options.ts'
export { EmulatorDisk } from './disk/emulator-disk.ts'
export {
  type CallbackDevice,
  type SectorDevice,
  type SectorsDone,
  withCallbacks,
} from './disk/sector-device.ts'
export { type ExportFormat, type ExportOptions, exportInto } from './export/export-image.ts'
export { type AttachOptions, attachDisk, type DriveAttachment } from './machine/attach-disk.ts'
export { type EventSource, flushOn } from './machine/flush-on.ts'
export { insertCdrom, insertFloppy } from './machine/removable.ts'
export { type SavableEmulator, saveState } from './machine/save-state.ts'
export { V86Disk, type V86DiskOptions, type V86DriveLink } from './machine/v86-disk.ts'
export { diskOfOwnNode, type V86OpenOptions, v86Disk } from './machine/v86-disk-of.ts'
export type { V86Buffer, V86Progress } from './machine/v86-interface.ts'
