/**
 * JSON as QEMU reads it: strings may be in single quotes, keys must be unique, and errors are in QEMU's
 * words, which users of `json:{...}` file names see.
 */

/** A token: punctuation, a word, or a literal with its value. */
interface Token {
  readonly kind: 'punctuation' | 'word' | 'string' | 'number'
  readonly text: string
}

const SPACE = /[ \t\r\n]+/y
const PUNCTUATION = /[{}[\]:,]/y
const WORD = /[a-z]+/y
const NUMBER = /-?(?:(?:0\.\d+|[1-9]\d*(?:\.\d+)?)(?:[eE][-+]?\d+)?|0)/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what ends a string early
const STRING = /"(?:[^"\\\u0000-\u001f]|\\[^\u0000-\u001f])*"|'(?:[^'\\\u0000-\u001f]|\\[^\u0000-\u001f])*'/y
/** The valid part of an incomplete literal; the character after it is the invalid one. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const BROKEN_STRING = /(["'])(?:\\[^\u0000-\u001f]|(?!\1)[^\\\u0000-\u001f])*\\?/y
const BROKEN_NUMBER = /-?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][-+]?)?)?/y

/** QEMU's MAX_NESTING. */
const MAX_DEPTH = 1024

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }
const WORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
])

const fail = (what: string): Error => new Error(`JSON parse error, ${what}`)

/** The options in a `json:` name. @throws Error with QEMU's message */
export function parseNameObject(text: string): { readonly [key: string]: unknown } {
  let value: unknown
  try {
    value = parseJson(text)
  } catch (error) {
    throw new Error(`Could not parse the JSON options: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('Invalid JSON object given')
  // Only the program decides to open for a check, or to be described, never a file name.
  for (const key of ['check-mode', 'checkMode', 'no-io', 'noIo'])
    if (key in value) throw new Error(`Invalid parameter '${key.replace(/[A-Z]/, '-$&').toLowerCase()}'`)
  return value as { readonly [key: string]: unknown }
}

/** @throws Error with QEMU's message */
export function parseJson(text: string): unknown {
  const tokens = tokenize(text)
  if (tokens.length === 0) throw new Error('Expecting a JSON value')
  const reader = new Reader(tokens)
  const value = reader.value()
  if (!reader.atEnd) throw new Error('Expecting at most one JSON value')
  return value
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at
    return pattern.exec(text)?.[0]
  }
  while (at < text.length) {
    const space = match(SPACE)
    if (space !== undefined) {
      at += space.length
      continue
    }
    const kinds = [
      ['punctuation', PUNCTUATION],
      ['word', WORD],
      ['string', STRING],
      ['number', NUMBER],
    ] as const
    const found = kinds
      .map(([kind, pattern]) => ({ kind, text: match(pattern) }))
      .find((token) => token.text !== undefined)
    const next = text[at + (found?.text?.length ?? 0)] ?? ''
    if (found?.text === undefined || (found.kind === 'number' && isBroken(found.text, next)))
      throw fail(`stray '${strayText(text, at, match)}'`)
    tokens.push({ kind: found.kind, text: found.text })
    at += found.text.length
  }
  return tokens
}

/** Whether the character after a number would only be valid as a part of a longer number. */
function isBroken(number: string, next: string): boolean {
  if (number === '0' || number === '-0') return /[\d.]/.test(next)
  return (!number.includes('.') && next === '.') || (!/e/i.test(number) && /[eE]/.test(next))
}

function strayText(text: string, at: number, match: (pattern: RegExp) => string | undefined): string {
  const understood = match(BROKEN_STRING) ?? match(BROKEN_NUMBER) ?? ''
  return text.slice(at, at + understood.length + 1)
}

/** Reads values from tokens. */
class Reader {
  readonly #tokens: readonly Token[]
  #at = 0
  #depth = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  get atEnd(): boolean {
    return this.#at === this.#tokens.length
  }

  value(): unknown {
    const token = this.#next()
    if (token.kind === 'string') return unquote(token.text)
    if (token.kind === 'number') return numberOf(token.text)
    if (token.kind === 'word') {
      if (WORDS.has(token.text)) return WORDS.get(token.text)
      throw fail(`invalid keyword '${token.text}'`)
    }
    if (token.text !== '{' && token.text !== '[') throw fail('expecting value')
    if (this.#depth === MAX_DEPTH) throw new Error('JSON nesting depth limit exceeded')
    this.#depth++
    const value = token.text === '{' ? this.#object() : this.#array()
    this.#depth--
    return value
  }

  #object(): Record<string, unknown> {
    const entries = new Map<string, unknown>()
    if (this.#skip('}')) return {}
    for (;;) {
      const key = this.value()
      if (typeof key !== 'string') throw fail('key is not a string in object')
      if (this.#next().text !== ':') throw fail('missing : in object pair')
      const value = this.value()
      if (entries.has(key)) throw fail('duplicate key')
      entries.set(key, value)
      const { text } = this.#next()
      if (text === '}') return Object.fromEntries(entries)
      if (text !== ',') throw fail('expected separator in dict')
    }
  }

  #array(): unknown[] {
    const items: unknown[] = []
    if (this.#skip(']')) return items
    for (;;) {
      items.push(this.value())
      const { text } = this.#next()
      if (text === ']') return items
      if (text !== ',') throw fail('expected separator in list')
    }
  }

  #skip(text: string): boolean {
    if (this.#tokens[this.#at]?.text !== text) return false
    this.#at++
    return true
  }

  #next(): Token {
    const token = this.#tokens[this.#at++]
    if (!token) throw fail('premature EOI')
    return token
  }
}

/** A whole number that would be rounded stays text; option parsers read it exactly, or refuse it by name. */
function numberOf(text: string): number | string {
  const number = Number(text)
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(number) ? text : number
}

function unquote(quoted: string): string {
  const text = quoted.slice(1, -1)
  const decoded = text.replace(/\\(?:u(.{0,4})|(.))/gs, (_, code: string | undefined, letter = '') => {
    if (code === undefined) {
      const plain = ESCAPES[letter] ?? ('"\'\\/'.includes(letter) ? letter : undefined)
      if (plain === undefined) throw fail('invalid escape sequence in string')
      return plain
    }
    const digits = /^[0-9a-f]*/i.exec(code)?.[0] ?? ''
    if (digits.length === 4) return String.fromCharCode(Number.parseInt(code, 16))
    throw fail(`\\u${(code + quoted.at(-1)).slice(0, 4)} is not a valid Unicode character`)
  })
  const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.exec(decoded)
  if (lone) throw fail(`\\u${lone[0].charCodeAt(0).toString(16)} is not a valid Unicode character`)
  return decoded
}
