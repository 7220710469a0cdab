/** Checks an image. Its backing file is not needed for that. */
import { requireOptions, requireText } from '@vmblock/block-core/driver'
import type { Allow } from '@vmblock/sources'
import { CHECK_OPTIONS, type CheckResult, checkImage, type DiskCheckOptions } from '../images/check-image.ts'
import { keyOptions, type Passphrase, requirePassphrases, secretsOf } from '../options/passphrases.ts'
import { HOST_OPTIONS, type Platform, settingsOf } from '../platform/platform.ts'
import { closeOwn, openOriginal } from './opened.ts'

/** How an image is checked. */
export interface CheckOptions extends DiskCheckOptions {
  /** The format of the image. Default: found out from its content. */
  readonly format?: string | undefined
  /** The passphrase of an encrypted image. */
  readonly passphrase?: Passphrase | undefined
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
  requireOptions(options, 'options', {
    format: requireText,
    passphrase: requirePassphrases,
    allow,
    ...CHECK_OPTIONS,
  })
  const { format, passphrase, allow: allowed, ...how } = options
  how.signal?.throwIfAborted()
  const opened = await openOriginal(platform, source, {
    settings: settingsOf(platform, { allow: allowed }, secretsOf({ passphrase })),
    keys: keyOptions('passphrase', passphrase),
    format,
    readOnly: !how.repair,
    extra: { 'check-mode': true, backing: null },
  })
  try {
    return await checkImage(opened.node, how)
  } finally {
    await closeOwn(opened)
  }
}
