/** Options as data: how each is spelled, and what its value means. Parser, usage lines and help read the same tables. */

/** Takes QEMU's warnings, without prefix and newline. */
export type Warn = (message: string) => void

/**
 * The spellings of an option, and its line of the help. One that has no spelling is spelled as its key in the table,
 * which is a letter.
 */
export interface Spelling {
  /** One letter, without its dash: the one of QEMU 7.2. */
  readonly short?: string | undefined
  /** A word, without its dashes: the one of QEMU 7.2. Scripts may have shortened it. */
  readonly long?: string | undefined
  /**
   * Letters and words, without dashes, that later QEMUs take in their place or beside them. Words may be shortened only
   * where that was no abbreviation in 7.2.
   */
  readonly newer?: readonly string[] | undefined
  /** What the option does: a line that begins with a small letter and ends without a full stop. */
  readonly help?: string | undefined
  /** What its value may be, for completion: these words, the name of a format, or the name of a file. */
  readonly values?: readonly string[] | 'format' | 'file' | undefined
}

/** The definition of one option. */
export interface OptionKind<T> extends Spelling {
  /** The name of the value in usage lines; undefined for an option without value. */
  readonly argument?: string | undefined
  /**
   * @param before the value of an earlier use of the same option
   * @throws Failure, or another error of the program, in QEMU's words
   */
  read(text: string, warn: Warn, before: T | undefined): T
}

/** Options by the names that the program uses. */
// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type
export type OptionKinds = Readonly<Record<string, OptionKind<any>>>

/** The letter of an option: its key in the table, if it has no spelling. */
export const shortOf = (key: string, { short, long, newer }: Spelling): string | undefined =>
  short ?? (long === undefined && newer === undefined ? key : undefined)

/** The values of the options; undefined for those not given. */
export type OptionsOf<O extends OptionKinds> = {
  readonly [K in keyof O]?: (O[K] extends OptionKind<infer T> ? T : never) | undefined
}

/** An option without a value. */
export const flag = (spelling: Spelling = {}): OptionKind<true> => ({ ...spelling, read: () => true })

/** An option with a text value; the last one counts. */
export const word = (argument: string, spelling: Spelling = {}): OptionKind<string> => ({
  ...spelling,
  argument,
  read: (text) => text,
})

/** An option whose value is one of `names`. @param refuse makes the error for any other text */
export const choice = <const T extends string>(
  names: readonly T[],
  refuse: (text: string) => Error,
  spelling: Spelling & { readonly argument: string },
): OptionKind<T> => ({
  values: names,
  ...spelling,
  read(text) {
    const name = names.find((known) => known === text)
    if (name === undefined) throw refuse(text)
    return name
  },
})
