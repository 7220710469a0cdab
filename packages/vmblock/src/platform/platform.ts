/** What differs between Node.js and pages: an entry names its drivers and its kinds of sources here. */
import type {
  AnyDriver,
  DriverRegistry,
  ImageResolver,
  NodeOptions,
  OpenEnvironment,
} from '@vmblock/block-core'
import { type Check, expects, requireCallback } from '@vmblock/block-core/driver'
import type { ImageSource, SourceFile, SourceKit } from '@vmblock/sources'

/** An entry. */
export interface Platform {
  readonly registry: DriverRegistry
  /** The driver of images that are created because their source says a size, or is an overlay. */
  readonly imageDriver: AnyDriver
  /**
   * What the option `allow` stands for; undefined: the default. A resolver is returned as it is.
   *
   * @throws BlockError EINVAL
   */
  resolverOf(allow: unknown): ImageResolver
  /**
   * Writes out the short forms of a source: paths, URLs, bytes, Blobs. Others are returned as they are.
   *
   * @throws BlockError EINVAL, ENOTSUP
   */
  writeOut(source: unknown): unknown
  /** The node of the bytes of a handle that the application holds; undefined for what is none. */
  handleOf(source: unknown): Promise<HeldFile> | undefined
  /** The file behind a source. @throws BlockError ENOTSUP for a source of another platform */
  fileOf(environment: OpenEnvironment, source: ImageSource): SourceFile
  /** How bytes are copied best. Default: as anywhere. */
  readonly copying?: {
    readonly isZero: (bytes: Uint8Array) => boolean
    readonly equal: (one: Uint8Array, other: Uint8Array) => boolean
    readonly allocate: (bytes: number) => Uint8Array
  }
}

/** A file that the application holds. */
export interface HeldFile {
  /** The node of its bytes. */
  readonly bytes: NodeOptions
  readonly readOnly: boolean
}

/** What images may name, as `allow` says it, and who hears of warnings. */
export interface HostOptions {
  readonly allow?: unknown
  readonly onWarn?: OpenEnvironment['onWarn'] | undefined
  readonly onRepair?: OpenEnvironment['onRepair'] | undefined
}

const anything: Check = () => undefined

/** Checks of {@link HostOptions}; `allow` is checked by {@link environmentOf}. */
export const HOST_OPTIONS = { allow: anything, onWarn: requireCallback, onRepair: requireCallback }

/** The environment of one operation: each has names of nodes of its own. @throws BlockError EINVAL for `allow` */
export const environmentOf = (
  platform: Platform,
  { allow, onWarn, onRepair }: HostOptions,
): OpenEnvironment => ({
  registry: platform.registry,
  host: platform.resolverOf(allow),
  ...(onWarn && { onWarn }),
  ...(onRepair && { onRepair }),
})

/** What the sources of a platform are opened with. */
export const kitOf = (platform: Platform, environment: OpenEnvironment): SourceKit => ({
  environment,
  imageDriver: platform.imageDriver,
  fileOf: (source) => platform.fileOf(environment, source),
})

/** An `ImageResolver` of the application's own. */
export const isResolver = (value: unknown): value is ImageResolver =>
  typeof (value as Partial<ImageResolver> | null | undefined)?.resolve === 'function'

/** The error for a wrong `allow`. */
export const requireAllow = expects(
  "one of 'directory', 'none', 'all', { directory }, or an ImageResolver",
  isResolver,
)
