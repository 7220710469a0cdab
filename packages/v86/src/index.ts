/**
 * Disks for emulators: `v86Disk` for v86, and a sector device for others.
 * @module
 */

export type {
  BlobSource,
  DiskSource,
  FileSource,
  ImageSource,
  IndexedDbSource,
  MemorySource,
  OpfsSource,
  OverlaySource,
  SourceFile,
  SourceKit,
  SourceOptions,
  UrlSource,
  WorkerSource,
} from '@vmblock/sources'
export type { BufferedDisk } from './disk/buffered-disk.ts'
export type { Clock } from './disk/clock.ts'
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
export type { ExportFormat, ExportOptions } from './export/export-image.ts'
export { type AttachOptions, attachDisk, type DriveAttachment } from './machine/attach-disk.ts'
export { type EventSource, flushOn } from './machine/flush-on.ts'
export { insertCdrom, insertFloppy } from './machine/removable.ts'
export { type SavableEmulator, saveState } from './machine/save-state.ts'
export { V86Disk, type V86DiskOptions, type V86DriveLink } from './machine/v86-disk.ts'
export { type V86OpenOptions, v86Disk } from './machine/v86-disk-of.ts'
export type { V86Buffer, V86Progress } from './machine/v86-interface.ts'
