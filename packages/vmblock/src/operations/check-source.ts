/** Checks an image. Its backing file is not needed for that. */
import { requireOptions, requireText } from '@vmblock/block-core/driver'
import { CHECK_OPTIONS, type CheckResult, checkImage, type DiskCheckOptions } from '../images/check-image.ts'
import { environmentOf, HOST_OPTIONS, type Platform } from '../platform/platform.ts'
import type { Allow } from '../platform/source.ts'
import { openOriginal } from './opened.ts'

/** How an image is checked. */
export interface CheckOptions extends DiskCheckOptions {
  /** The format of the image. Default: found out from its content. */
  readonly format?: string | undefined
  /** Which files the image may name: its data file. */
  readonly allow?: Allow | undefined
}

const { allow } = HOST_OPTIONS

/** See `check` of the entries. */
export async function checkSource(
  platform: Platform,
  source: unknown,
  options: CheckOptions = {},
): Promise<CheckResult> {
  requireOptions(options, 'options', { format: requireText, allow, ...CHECK_OPTIONS })
  const { format, allow: allowed, ...how } = options
  how.signal?.throwIfAborted()
  const environment = environmentOf(platform, { allow: allowed })
  const opening = { format, readOnly: !how.repair, extra: { 'check-mode': true, backing: null } }
  const { node, isOwn } = await openOriginal(platform, environment, source, opening)
  try {
    return await checkImage(node, how)
  } finally {
    if (isOwn) await node.close()
  }
}
