/** One pass over a command line by a table of options, from left to right; the first mistake ends it. */
import { expects } from '@vmblock/block-core/driver'
import { Getopt, type GetoptMistake } from './getopt.ts'
import { type OptionKinds, type OptionsOf, shortOf, type Warn } from './options.ts'

/** Checks the arguments that an application hands to a program. @throws BlockError EINVAL */
export const requireWords = expects(
  'a list of words',
  (value) => Array.isArray(value) && value.every((word) => typeof word === 'string'),
)

/** One use of an option: its name in the table, and its value. */
export interface Given<O extends OptionKinds = OptionKinds> {
  readonly name: keyof O & string
  readonly value: unknown
}

/** How a program reads its command lines. */
export interface Reading {
  readonly warn: Warn
  /** Makes the error for an option that is unknown or lacks its value. */
  mistake(mistake: GetoptMistake): Error
  /** Whether the first operand ends the options. */
  readonly inOrder?: boolean
}

/** A command line. Iterating over it reads it; what is found is there afterwards, too. */
export class CommandLine<O extends OptionKinds> {
  readonly #getopt
  readonly #reading: Reading
  readonly #options: Record<string, unknown> = {}

  /** @param words beginning with the name of the program or command */
  constructor(words: readonly string[], kinds: O, reading: Reading) {
    const grammar = Object.entries(kinds).map(([name, kind]) => ({
      name,
      kind,
      short: shortOf(name, kind),
      long: kind.long,
      newer: kind.newer,
      takesValue: kind.argument !== undefined,
    }))
    this.#getopt = new Getopt(words, grammar, reading.inOrder)
    this.#reading = reading
  }

  /** Reads the options in order. @throws the error of the first mistake */
  *[Symbol.iterator](): Generator<Given<O>, void, undefined> {
    const { warn, mistake } = this.#reading
    for (const step of this.#getopt) {
      if (step.kind !== 'option') throw mistake(step)
      const { name, kind } = step.option
      const value: unknown = kind.read(step.value ?? '', warn, this.#options[name])
      this.#options[name] = value
      yield { name, value }
    }
  }

  /** The options read so far, each with its last value. */
  get options(): OptionsOf<O> {
    return this.#options as OptionsOf<O>
  }

  /** The words that are not options, once all options are read. */
  get operands(): readonly string[] {
    return this.#getopt.operands
  }

  /** All words after the first, in the order in which getopt leaves them: options first. */
  get permuted(): readonly string[] {
    return this.#getopt.permuted
  }
}
