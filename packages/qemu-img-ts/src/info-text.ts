/** The facts of an image as QEMU names them, and the text that `info` makes of them for people. */
import { factsText } from '@vmblock/cli'
import { humanSize } from './human-size.ts'

/** QEMU's `ImageInfo`. Sizes in bytes. */
export interface ImageInfo {
  readonly filename: string
  readonly format: string
  readonly 'virtual-size': number
  readonly 'actual-size'?: number
  readonly encrypted?: boolean
  readonly 'cluster-size'?: number
  readonly 'dirty-flag': boolean
  readonly 'backing-filename'?: string
  readonly 'full-backing-filename'?: string
  readonly 'backing-filename-format'?: string
  readonly 'format-specific'?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
}

/** The lines for people, each with its newline. `shown` makes of a name what may be printed. */
export function humanInfo(info: ImageInfo, shown: (name: string) => string): string {
  const size = info['virtual-size']
  const actual = info['actual-size']
  const specific = info['format-specific']
  return [
    `image: ${shown(info.filename)}\n`,
    `file format: ${info.format}\n`,
    `virtual size: ${humanSize(size)} (${size} bytes)\n`,
    `disk size: ${actual === undefined ? 'unavailable' : humanSize(actual)}\n`,
    info.encrypted ? 'encrypted: yes\n' : '',
    info['cluster-size'] === undefined ? '' : `cluster_size: ${info['cluster-size']}\n`,
    info['dirty-flag'] ? 'cleanly shut down: no\n' : '',
    backingLines(info, shown),
    specific ? `Format specific information:\n${factsText(specific.data, shown)}` : '',
  ].join('')
}

function backingLines(info: ImageInfo, shown: (name: string) => string): string {
  const name = info['backing-filename']
  if (name === undefined) return ''
  const full = info['full-backing-filename']
  const place =
    full === undefined
      ? ' (cannot determine actual path)'
      : full === name
        ? ''
        : ` (actual path: ${shown(full)})`
  const format = info['backing-filename-format']
  return `backing file: ${shown(name)}${place}\n${format === undefined ? '' : `backing file format: ${shown(format)}\n`}`
}
