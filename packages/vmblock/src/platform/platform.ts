/** What differs between Node.js and pages: an entry says here what sources it has. */
import type { ImageResolver } from '@vmblock/block-core'
import { type Check, requireCallback } from '@vmblock/block-core/driver'
import type { PreparedSource, SourceSettings } from '@vmblock/sources'
import type { Copying } from '../jobs/copy-disk.ts'

/** An entry. */
export interface Platform {
  /** What the option `allow` stands for; undefined: the default. @throws BlockError EINVAL */
  resolverOf(allow: unknown): ImageResolver
  /**
   * Writes out the short forms of a source (paths, URLs, bytes, handles), and finds the drivers for it.
   *
   * @throws BlockError EINVAL, ENOTSUP; EIO if the code for it cannot be loaded
   */
  prepareSource(source: unknown, settings: SourceSettings): Promise<PreparedSource>
  /** How bytes are copied best. */
  readonly copying: Copying
}

/** What images may name, as `allow` says it, and what is told of warnings. */
export interface HostOptions extends Pick<SourceSettings, 'onWarn' | 'onRepair'> {
  readonly allow?: unknown
}

/** Of options that are checked where they are used. */
export const LATER: Check = () => undefined

/** Checks of {@link HostOptions}. */
export const HOST_OPTIONS = { allow: LATER, onWarn: requireCallback, onRepair: requireCallback }

/** With what the sources of one operation are opened. @throws BlockError EINVAL for `allow` */
export const settingsOf = (
  platform: Platform,
  { allow, onWarn, onRepair }: HostOptions,
  secret?: SourceSettings['secret'],
): SourceSettings => ({
  host: platform.resolverOf(allow),
  onWarn,
  onRepair,
  secret,
})
