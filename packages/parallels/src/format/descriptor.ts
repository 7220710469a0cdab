/** DiskDescriptor.xml: the file of a Parallels disk that says which image files it has, and holds no data. */
import { BlockError } from '@vmblock/block-core/driver'

/** Most bytes of a descriptor that are looked at. */
export const DESCRIPTOR_BYTES = 2 ** 16
/** Most images that a message names. */
const MOST_NAMES = 8

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Whether a file that begins with `head` is a descriptor. */
export function isDescriptor(head: Uint8Array): boolean {
  const text = textOf(head.subarray(0, 512)).trimStart()
  return text.startsWith('<?xml') && text.includes('<Parallels_disk_image')
}

const tagged = (text: string, tag: string): string | undefined =>
  new RegExp(`<${tag}>([^<]{1,4096})</${tag}>`).exec(text)?.[1]

/** The error for an attempt to open a descriptor as an image: it names the files that are images. */
export function descriptorError(bytes: Uint8Array): BlockError {
  const names = textOf(bytes)
    .split('<Image>')
    .slice(1, MOST_NAMES + 1)
    .flatMap((image) => {
      const name = tagged(image, 'File')
      if (name === undefined) return []
      // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal would obey them
      const shown = `'${name.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?')}'`
      return tagged(image, 'Type') === 'Plain' ? `${shown} (in format raw)` : shown
    })
  const hint = names.length > 0 ? `open ${names.join(' or ')} instead` : 'open its .hds file instead'
  return new BlockError('ENOTSUP', `this file describes a Parallels disk, and holds no data: ${hint}`)
}
