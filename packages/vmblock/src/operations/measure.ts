/** Says how large an image would be. */
import { type MeasureReport, measureImage } from '@vmblock/block-core'
import { isPlain, requireOptions, requireText, wrongValue } from '@vmblock/block-core/driver'
import type { Allow } from '@vmblock/sources'
import type { CreationOptions } from '../options/creation.ts'
import { HOST_OPTIONS, type Platform, settingsOf } from '../platform/platform.ts'
import type { Source } from '../platform/source.ts'
import { encryptionOf } from './create.ts'
import { closeOwn, openNodeOf, openOriginal, requireDriver } from './opened.ts'

/** The image that is measured: options as for `create`, of which `format` is qcow2 unless it is given. */
export type MeasureOptions = CreationOptions & {
  /** What the image would hold, with everything that shows through from backing files. Default: nothing. */
  readonly source?: Source | undefined
  /** The format of the source. Default: found out from its content. */
  readonly sourceFormat?: string | undefined
  /** Which files the source may name. */
  readonly allow?: Allow | undefined
}

const MEASURE = { format: requireText, sourceFormat: requireText, allow: HOST_OPTIONS.allow }

/** See `measure` of the entries. */
export async function measureDisk(platform: Platform, options: unknown): Promise<MeasureReport> {
  if (!isPlain(options)) throw wrongValue('options', 'a plain object', options)
  const { source, sourceFormat, allow, format = 'qcow2', ...given } = options
  requireOptions({ format, sourceFormat, allow }, 'options', MEASURE)
  const { encryption: creation } = encryptionOf(given)
  const settings = settingsOf(platform, { allow: allow as Allow })
  if (source === undefined) {
    // Any source brings the drivers that there are.
    const { kit } = await platform.prepareSource(new Uint8Array(0), settings)
    requireDriver(kit.environment, format as string, 'format')
    return measureImage(kit.environment.registry.get(format as string), creation)
  }
  const opening = {
    settings,
    format: sourceFormat as string | undefined,
    ...(!openNodeOf(source) && { readOnly: true }),
  }
  const from = await openOriginal(platform, source, opening)
  try {
    requireDriver(from.environment, format as string, 'format')
    return await measureImage(from.environment.registry.get(format as string), creation, from.node)
  } finally {
    await closeOwn(from)
  }
}
