/**
 * What a terminal may be given of texts that others wrote: the names in an image may hold sequences that a terminal
 * obeys, or lines that look like ours. Pipes and files get everything as it is, as from QEMU.
 */

/** Control characters, those that change the direction of text, lines ended in other ways, halves of characters. */
const CONTROLS = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\p{Cs}]/gu

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

const escaped = (character: string): string =>
  SHORT[character] ?? `\\u{${character.codePointAt(0)!.toString(16)}}`

/** A name in one line, with `\n` and `\u{1b}` for what is no text. */
export const visibleName = (name: string): string => name.replace(CONTROLS, escaped)

/** What follows where messages of ours go on in another line. Any other line in a message is of a name in it. */
const OWN_LINE = [
  'Is another process using the image [',
  'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-',
  'and exabytes, respectively.',
  'Please use ',
]

/** A message, in which only the lines are broken that the library breaks. */
export function visibleMessage(text: string): string {
  const end = text.endsWith('\n') ? '\n' : ''
  const lines = visibleText(text.slice(0, text.length - end.length)).split('\n')
  const isOwn = (line: string): boolean => OWN_LINE.some((start) => line.startsWith(start))
  return lines.reduce((shown, line) => `${shown}${isOwn(line) ? '\n' : '\\n'}${line}`) + end
}

/** A text of the program, whose own newlines and tabs stay, and a carriage return at its end, as progress has it. */
export function visibleText(text: string): string {
  const end = text.endsWith('\r') ? text.length - 1 : text.length
  return (
    text
      .slice(0, end)
      .replace(CONTROLS, (character) => ('\n\t'.includes(character) ? character : escaped(character))) +
    text.slice(end)
  )
}
