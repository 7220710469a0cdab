/**
 * From a source to an open node: what a source may be, and how images and overlays are found or made. The entries
 * `@vmblock/sources/node` and `@vmblock/sources/browser` know what sources there are.
 * @module
 */

export { requireResolver, requireSource, requireWorker } from './check-source.ts'
export type { Allow, PreparedSource, SourceSettings } from './kit.ts'
export {
  fileOfTarget,
  type OpenedSource,
  openSource,
  type SourceFile,
  type SourceKit,
} from './open-source.ts'
export type {
  BlobSource,
  DiskSource,
  FileSource,
  ImageSource,
  IndexedDbSource,
  MemorySource,
  OpenFileHandle,
  OpfsSource,
  OverlaySource,
  SourceOptions,
  UrlSource,
  WorkerSource,
} from './source.ts'
