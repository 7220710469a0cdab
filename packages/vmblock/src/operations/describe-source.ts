/** Describes an image without its backing file, and without a key if it is encrypted. */
import type { ImageResolver } from '@vmblock/block-core'
import { requireOptions, requireText } from '@vmblock/block-core/driver'
import { type DiskInfo, describe } from '../images/describe.ts'
import type { Platform } from '../platform/platform.ts'
import { closeOwn, openOriginal } from './opened.ts'

/** How an image is described. */
export interface InfoOptions {
  /** The format of the image. Default: found out from its content. */
  readonly format?: string | undefined
}

/** See `info` of the entries. */
export async function describeSource(
  platform: Platform,
  source: unknown,
  options: InfoOptions = {},
): Promise<DiskInfo> {
  requireOptions(options, 'options', { format: requireText })
  const { format } = options
  const extra = { 'no-io': true, backing: null }
  const settings = { host: EMPTY_FILES }
  const opened = await openOriginal(platform, source, { settings, format, readOnly: true, extra })
  try {
    return await describe(opened.node)
  } finally {
    await closeOwn(opened)
  }
}

/** Data files do not matter here: empty disks stand for them. */
const EMPTY_FILES: ImageResolver = { resolve: async () => ({ driver: 'null-co' }) }
