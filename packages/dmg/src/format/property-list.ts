/**
 * The data of a property list, and no more of XML than that needs: comments and other sections are passed over, and every
 * `<data>` counts, whatever its key, as in QEMU. What is a table says so itself.
 */
import { BlockError } from '@vmblock/block-core/driver'

/** Sections in which tags are text, by their beginning and end. */
const SECTIONS = [
  ['<!--', '-->'],
  ['<![CDATA[', ']]>'],
  ['<?', '?>'],
] as const

/**
 * The data of all elements, in order.
 *
 * @throws BlockError EINVAL if an element or a section has no end, or the data is not base64
 */
export function* dataIn(list: Uint8Array): Generator<Uint8Array> {
  const xml = new TextDecoder('latin1').decode(list)
  for (let at = xml.indexOf('<'); at >= 0; at = xml.indexOf('<', at)) {
    const section = SECTIONS.find(([start]) => xml.startsWith(start, at))
    if (section) {
      at = endOf(xml, section[1], at)
      continue
    }
    const start = at
    at = endOf(xml, '>', at)
    if (!/^<data[\s>]/.test(xml.slice(start, start + 6)) || xml[at - 2] === '/') continue
    const end = xml.indexOf('<', at)
    if (end < 0 || !xml.startsWith('</data', end))
      throw new BlockError('EINVAL', 'A <data> of the property list has no end')
    yield decodeBase64(xml, at, end)
    at = end
  }
}

/** The offset behind the next `end`. */
function endOf(xml: string, end: string, from: number): number {
  const at = xml.indexOf(end, from)
  if (at < 0) throw new BlockError('EINVAL', `The property list of the dmg image ends before a '${end}'`)
  return at + end.length
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const SPACE = 0xfe
const OTHER = 0xff
/** The value of each character. */
const VALUES = new Uint8Array(128).fill(OTHER)
for (const [value, digit] of Array.from(DIGITS).entries()) VALUES[digit.charCodeAt(0)] = value
for (const space of ' \t\r\n\f=') VALUES[space.charCodeAt(0)] = SPACE

/** Decodes base64 between two places of a text. White space and padding do not count. */
function decodeBase64(text: string, from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(Math.floor(((to - from) * 3) / 4))
  let filled = 0
  let value = 0
  let bits = 0
  for (let at = from; at < to; at++) {
    const digit = VALUES[text.charCodeAt(at)] ?? OTHER
    if (digit === SPACE) continue
    if (digit === OTHER)
      throw new BlockError('EINVAL', 'The property list of the dmg image has data that is not base64')
    value = ((value & 0x3ffff) << 6) | digit
    bits += 6
    if (bits < 8) continue
    bits -= 8
    bytes[filled++] = (value >>> bits) & 0xff
  }
  return bytes.subarray(0, filled)
}
