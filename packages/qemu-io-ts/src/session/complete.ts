/** Completion of a line that is being typed: names of commands, options and their values, topics of help, files. */
import type { OptionKind, OptionKinds } from '@vmblock/cli'
import type { AnyCommand } from './command.ts'
import type { Entry } from './services.ts'

/** What completion is made from. */
export interface Completable {
  readonly commands: readonly AnyCommand[]
  /** Lists a directory; empty if it cannot be read. '' stands for the current directory. */
  listDirectory(path: string): readonly Entry[]
}

/** The word at the end of a line, and what it may become. */
export interface Completion {
  readonly typed: string
  /** Each with a space at its end where the word would be complete. */
  readonly candidates: readonly string[]
}

/** Completes the last word of the line; the line ends at the cursor. */
export function completeLine(line: string, { commands, listDirectory }: Completable): Completion {
  const words = line.split(' ')
  const typed = words.pop()!
  const [name, ...given] = words.filter((word) => word !== '')
  const among = (names: readonly string[]): Completion => ({
    typed,
    candidates: names.filter((each) => each.startsWith(typed)).map((each) => `${each} `),
  })
  if (name === undefined) return among(namesOf(commands, typed))
  const command = commands.find((known) => namesOfOne(known).includes(name))
  if (!command) return among([])
  if (command.operandsAre === 'commands') return among(given.length === 0 ? namesOf(commands, typed) : [])
  const { options = {} } = command
  const waiting = optionThatWaits(options, given.at(-1))
  if (waiting === undefined && typed.startsWith('-')) return among(lettersOf(options, typed))
  const values = waiting?.values
  if (typeof values === 'object') return among(values)
  const isFile = waiting ? values === 'file' : command.operandsAre === 'files'
  return isFile ? { typed, candidates: filesFrom(typed, listDirectory) } : among([])
}

/** Other names are offered once one of them is being typed: a list twice as long would hide the commands. */
function namesOf(commands: readonly AnyCommand[], typed: string): readonly string[] {
  const names = commands.map(({ name }) => name)
  return typed === '' || names.some((name) => name.startsWith(typed)) ? names : commands.flatMap(namesOfOne)
}

const namesOfOne = ({ name, alias, longAlias }: AnyCommand): readonly string[] =>
  [name, alias, longAlias].filter((each) => each !== undefined)

const letterOf = (key: string, { short }: OptionKind<unknown>): string => short ?? key

/** The option whose value the next word is: the last letter of a word of options, if it takes a value. */
function optionThatWaits(options: OptionKinds, word: string | undefined): OptionKind<unknown> | undefined {
  if (word === undefined || !/^-[^-]/.test(word)) return undefined
  const letters = [...word.slice(1)].map((letter) =>
    Object.entries(options).find(([key, kind]) => letterOf(key, kind) === letter),
  )
  const first = letters.findIndex((found) => found?.[1].argument !== undefined)
  // What follows a letter with a value in the same word is the value.
  return first >= 0 && first === letters.length - 1 ? letters[first]![1] : undefined
}

/** All options after a dash; after letters that take no value, nothing is left to complete but the word itself. */
function lettersOf(options: OptionKinds, typed: string): readonly string[] {
  const all = Object.entries(options).map(([key, kind]) => `-${letterOf(key, kind)}`)
  return typed === '-' || all.includes(typed) ? all : [typed]
}

/** Names with spaces are left out: lines are split at spaces, and there are no quotes. */
function filesFrom(typed: string, listDirectory: Completable['listDirectory']): readonly string[] {
  const cut = typed.lastIndexOf('/') + 1
  const directory = typed.slice(0, cut)
  const start = typed.slice(cut)
  return listDirectory(directory)
    .filter(({ name }) => name.startsWith(start) && !name.includes(' '))
    .filter(({ name }) => start.startsWith('.') || !name.startsWith('.'))
    .map(({ name, isDirectory }) => `${directory}${name}${isDirectory ? '/' : ' '}`)
    .sort()
}
