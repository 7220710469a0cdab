/**
 * Disks for emulators: `v86Disk` for v86, and a sector device for others.
 * @module
 */
export { type AttachOptions, attachDisk, type DriveAttachment } from './attach-disk.ts'
export { BufferedDisk } from './buffered-disk.ts'
export { type Clock, hostClock } from './clock.ts'
export type {
  DiskErrorReport,
  DiskEvents,
  DiskOperation,
  DiskProgress,
  DiskStatistics,
} from './disk-events.ts'
export type { DiskOptions, Durability } from './disk-options.ts'
export { EmulatorDisk } from './emulator-disk.ts'
export { type ExportFormat, type ExportOptions, exportInto } from './export-image.ts'
export { type EventSource, flushOn } from './flush-on.ts'
export { type OpenedPlace, openSource, type SourceKit } from './open-source.ts'
export { insertCdrom, insertFloppy } from './removable.ts'
export { type SavableEmulator, saveState } from './save-state.ts'
export { type CallbackDevice, type SectorDevice, type SectorsDone, withCallbacks } from './sector-device.ts'
export type {
  BlobSource,
  DiskSource,
  FileSource,
  IndexedDbSource,
  MemorySource,
  OpfsSource,
  OverlaySource,
  PlaceOptions,
  PlaceSource,
  UrlSource,
  WorkerSource,
} from './source.ts'
export { V86Disk, type V86DiskOptions, type V86DriveLink } from './v86-disk.ts'
export { diskOfOwnNode, type V86OpenOptions, v86Disk } from './v86-disk-of.ts'
export type { V86Buffer, V86Progress } from './v86-interface.ts'
