/** The `-v` dump: sixteen bytes a line, in hexadecimal and as letters. */

const PER_LINE = 16
const HEX = Array.from({ length: 256 }, (_, byte) => `${byte.toString(16).padStart(2, '0')} `)
const isAlphanumeric = (byte: number): boolean =>
  (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122)

/** Dumps `data` as read from `offset`; every line ends with a newline. */
export function hexDump(data: Uint8Array, offset: number): string {
  const lines: string[] = []
  for (let at = 0; at < data.length; at += PER_LINE) {
    let bytes = ''
    let letters = ''
    for (const byte of data.subarray(at, at + PER_LINE)) {
      bytes += HEX[byte]
      letters += isAlphanumeric(byte) ? String.fromCharCode(byte) : '.'
    }
    lines.push(`${(offset + at).toString(16).padStart(8, '0')}:  ${bytes} ${letters}\n`)
  }
  return lines.join('')
}
