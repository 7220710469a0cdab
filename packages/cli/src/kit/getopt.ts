/**
 * C's getopt_long, on whose behavior scripts rely: options and operands in any order, bundled letters, values
 * attached or separate, `--` as the end, abbreviated words.
 */

/** One option of the grammar. */
export interface GetoptOption {
  /** One letter, without its dash. */
  readonly short?: string | undefined
  /** A word, without its dashes. */
  readonly long?: string | undefined
  /** More letters and words. Words of several options that begin alike are told apart by their `long` first. */
  readonly newer?: readonly string[] | undefined
  readonly takesValue: boolean
}

/** An option without its value, or an unknown one. */
export interface GetoptMistake {
  readonly kind: 'missing' | 'unknown'
  /** C's `argv[optind - 1]`, which qemu-img prints. */
  readonly word: string
  /** The C library's own message without the program's name, which qemu-io prints. */
  readonly message: string
}

/** The result of one step. */
export type GetoptStep<O> =
  | { readonly kind: 'option'; readonly option: O; readonly value: string | undefined }
  | GetoptMistake

/** One pass over a command line. */
export class Getopt<O extends GetoptOption> {
  /** The words, beginning with the name of the program or command. Options move to the front. */
  readonly #words: string[]
  readonly #options: readonly O[]
  /** Whether there are long options; plain getopt takes `--x` for two letters. */
  readonly #hasLong: boolean
  /** Whether to stop at the first operand instead of looking for options after it (getopt's `+`). */
  readonly #inOrder: boolean
  /** The next word to look at. */
  #at = 1
  /** Operands passed over so far: [first, last). They are moved after the options that follow them. */
  #first = 1
  #last = 1
  /** The rest of a word of bundled letters. */
  #letters = ''

  constructor(words: readonly string[], options: readonly O[], inOrder = false) {
    this.#words = [...words]
    this.#options = options
    this.#hasLong = options.some((option) => wordsOf(option).length > 0)
    this.#inOrder = inOrder
  }

  /** Returns the next option or mistake; undefined at the end. */
  next(): GetoptStep<O> | undefined {
    if (this.#letters !== '') return this.#short()
    const words = this.#words
    this.#last = Math.min(this.#last, this.#at)
    this.#first = Math.min(this.#first, this.#at)
    if (!this.#inOrder) {
      this.#moveOperands()
      while (this.#at < words.length && !isOption(words[this.#at]!)) this.#at++
      this.#last = this.#at
    }
    if (words[this.#at] === '--') {
      this.#at++
      this.#moveOperands()
      this.#at = this.#first
      return undefined
    }
    const word = words[this.#at]
    if (word === undefined || !isOption(word)) {
      if (this.#first !== this.#last) this.#at = this.#first
      return undefined
    }
    if (word.startsWith('--') && this.#hasLong) return this.#long(word.slice(2))
    this.#letters = word.slice(1)
    return this.#short()
  }

  /** All words after the first, in the order in which getopt leaves them: options first. */
  get permuted(): readonly string[] {
    return this.#words.slice(1)
  }

  /** The operands, once {@link next} has returned undefined. */
  get operands(): readonly string[] {
    return this.#words.slice(this.#at)
  }

  /** Iterates over all steps; a mistake does not end the iteration, the caller must. */
  *[Symbol.iterator](): Generator<GetoptStep<O>, void, undefined> {
    for (let step = this.next(); step; step = this.next()) yield step
  }

  /** Moves the operands passed over so far after the options that follow them. */
  #moveOperands(): void {
    if (this.#first !== this.#last && this.#last !== this.#at) {
      const operands = this.#words.splice(this.#first, this.#last - this.#first)
      this.#first = this.#at - operands.length
      this.#words.splice(this.#first, 0, ...operands)
      this.#last = this.#at
    } else if (this.#last !== this.#at) this.#first = this.#last = this.#at
  }

  #mistake(kind: GetoptMistake['kind'], message: string): GetoptMistake {
    return { kind, word: this.#words[this.#at - 1]!, message }
  }

  #short(): GetoptStep<O> {
    const letter = this.#letters[0]!
    this.#letters = this.#letters.slice(1)
    const option = this.#options.find(({ short, newer }) => short === letter || newer?.includes(letter))
    if (this.#letters === '') this.#at++
    if (!option) return this.#mistake('unknown', `invalid option -- '${letter}'`)
    if (!option.takesValue) return { kind: 'option', option, value: undefined }
    if (this.#letters === '') return this.#nextWord(option, `option requires an argument -- '${letter}'`)
    const value = this.#letters
    this.#letters = ''
    this.#at++
    return { kind: 'option', option, value }
  }

  #long(text: string): GetoptStep<O> {
    this.#at++
    const equals = text.indexOf('=')
    const name = equals < 0 ? text : text.slice(0, equals)
    const { option, word, matches } = this.#find(name)
    if (!option) {
      const names = matches.map((match) => `'--${match}'`).join(' ')
      const message =
        names === ''
          ? `unrecognized option '--${text}'`
          : `option '--${text}' is ambiguous; possibilities: ${names}`
      return this.#mistake('unknown', message)
    }
    if (!option.takesValue) {
      if (equals >= 0) return this.#mistake('unknown', `option '--${word}' doesn't allow an argument`)
      return { kind: 'option', option, value: undefined }
    }
    if (equals >= 0) return { kind: 'option', option, value: text.slice(equals + 1) }
    return this.#nextWord(option, `option '--${word}' requires an argument`)
  }

  /**
   * Finds the option that a word, or the beginning of one, stands for. The words that were there first decide: what was
   * an abbreviation of one of them stays one, however many begin alike since.
   */
  #find(name: string): { option?: O; word?: string; matches: readonly string[] } {
    const all = this.#options.flatMap((option) => wordsOf(option).map((word) => ({ option, word })))
    const matches = all.filter(({ word }) => word.startsWith(name))
    const exact = matches.find(({ word }) => word === name)
    const first = matches.filter(({ option, word }) => option.long === word)
    const candidates = first.length > 0 ? first : matches
    const isOne = candidates.every(({ option }) => option === candidates[0]!.option)
    const found = exact ?? (isOne ? candidates[0] : undefined)
    return { ...found, matches: candidates.map(({ word }) => word) }
  }

  #nextWord(option: O, complaint: string): GetoptStep<O> {
    const value = this.#words[this.#at]
    if (value === undefined) return this.#mistake('missing', complaint)
    this.#at++
    return { kind: 'option', option, value }
  }
}

const wordsOf = ({ long, newer = [] }: GetoptOption): readonly string[] => [
  ...(long === undefined ? [] : [long]),
  ...newer.filter(({ length }) => length > 1),
]

const isOption = (word: string): boolean => word.startsWith('-') && word !== '-'
