/** Describes an image without its backing file, and without a key if it is encrypted. */
import type { OpenEnvironment } from '@vmblock/block-core'
import { requireOptions, requireText } from '@vmblock/block-core/driver'
import { type DiskInfo, describe } from '../images/describe.ts'
import { environmentOf, type Platform } from '../platform/platform.ts'
import { openOriginal } from './opened.ts'

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
  const environment = withEmptyFiles(environmentOf(platform, { allow: 'none' }))
  const extra = { 'no-io': true, backing: null }
  const { node, isOwn } = await openOriginal(platform, environment, source, { format, readOnly: true, extra })
  try {
    return await describe(node)
  } finally {
    if (isOwn) await node.close()
  }
}

/** Data files do not matter here: empty disks stand for them. */
const withEmptyFiles = (environment: OpenEnvironment): OpenEnvironment => ({
  ...environment,
  host: { resolve: async () => ({ driver: 'null-co' }) },
})
