/**
 * Makes untrusted text safe for a terminal: names in an image may contain control sequences, or lines that
 * look like the program's. Pipes and files get the text unchanged, as from QEMU.
 */

/** Control characters, direction controls, unusual line ends, lone surrogates. */
const CONTROLS = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\p{Cs}]/gu

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

const escaped = (character: string): string =>
  SHORT[character] ?? `\\u{${character.codePointAt(0)!.toString(16)}}`

/** A name on one line, with escapes such as `\n` and `\u{1b}` for control characters. */
export const visibleName = (name: string): string => name.replace(CONTROLS, escaped)

/** The beginnings of later lines in the library's own messages. Any other line break is part of a name. */
const OWN_LINE = [
  'Is another process using the image [',
  'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-',
  'and exabytes, respectively.',
  'Please use ',
]

/** A message with only the library's own line breaks; others are escaped. */
export function visibleMessage(text: string): string {
  const end = text.endsWith('\n') ? '\n' : ''
  const lines = visibleText(text.slice(0, text.length - end.length)).split('\n')
  const isOwn = (line: string): boolean => OWN_LINE.some((start) => line.startsWith(start))
  return lines.reduce((shown, line) => `${shown}${isOwn(line) ? '\n' : '\\n'}${line}`) + end
}

/** A text of the program: newlines and tabs stay, and so does a final carriage return (of progress). */
export function visibleText(text: string): string {
  const end = text.endsWith('\r') ? text.length - 1 : text.length
  return (
    text
      .slice(0, end)
      .replace(CONTROLS, (character) => ('\n\t'.includes(character) ? character : escaped(character))) +
    text.slice(end)
  )
}
