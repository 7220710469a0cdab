/** Runs the lines of a session: finds the command, reads its words by its table, and explains what went wrong. */
import type { Disk } from '@vmblock/block-core'
import { CommandLine, Failure, type OptionKinds } from '@vmblock/cli'
import {
  type AnyCommand,
  type Call,
  type Count,
  commandHelp,
  type Outcome,
  Stop,
  UsageMistake,
} from './command.ts'
import type { Session } from './session.ts'

/** Commands of newer versions of QEMU, for block devices that are written zone by zone. */
const ZONES = /^(zone_(report|open|close|finish|reset|append)|z(rp|o|c|f|rs|ap))$/

const missing = (name: string): string =>
  ZONES.test(name) ? `${name}: zoned block devices are not supported` : `command "${name}" not found`

const fits = (count: number, { min, max = count }: Count): boolean => count >= min && count <= max

/** The commands, and the session that they work on. */
export class Interpreter {
  /** Sorted by name. */
  readonly commands: readonly AnyCommand[]
  readonly #session: Session
  readonly #byName = new Map<string, AnyCommand>()

  constructor(commands: readonly AnyCommand[], session: Session) {
    this.commands = [...commands].sort((a, b) => (a.name < b.name ? -1 : 1))
    this.#session = session
    for (const command of commands) {
      this.#byName.set(command.name, command)
      for (const other of [command.alias, command.longAlias])
        if (other !== undefined) this.#byName.set(other, command)
    }
  }

  /** Runs one line. Never throws: errors are printed, and the outcome is `failed`. */
  async run(line: string): Promise<Outcome> {
    const [name, ...words] = line.split(' ').filter((word) => word !== '')
    if (name === undefined) return 'ok'
    const command = this.#byName.get(name)
    if (!command) return this.#refuse(missing(name))
    try {
      return await this.#dispatch(command, name, words)
    } catch (error) {
      if (this.#session.takeInterruption()) return this.#refuse('Interrupted')
      return this.#explain(error, command)
    }
  }

  async #dispatch(command: AnyCommand, name: string, words: readonly string[]): Promise<Outcome> {
    const { image } = this.#session
    if (command.needsImage && !image) return this.#refuse(`no file open, try 'help open'`)
    if (!fits(words.length, command.wordCount)) {
      const { min, max } = command.wordCount
      const expected =
        max === undefined ? `at least ${min}` : min === max ? `${min}` : `between ${min} and ${max}`
      return this.#refuse(`bad argument count ${words.length} to ${name}, expected ${expected} arguments`)
    }
    if (command.writes && image?.node.readOnly) throw new Failure('Block node is read-only')
    return command.run({ ...this.#read(command, name, words), ...this.#surroundings() })
  }

  /** What commands work with, besides their words. */
  #surroundings(): Pick<Call, 'session' | 'commands' | 'node' | 'print' | 'warn'> {
    const session = this.#session
    const { output, image } = session
    const print = (text: string): void => output.print(text)
    return { session, commands: this.commands, node: image?.node as Disk, print, warn: output.warn }
  }

  #read(
    { options, operandCount = { min: 0 } }: AnyCommand,
    name: string,
    words: readonly string[],
  ): Pick<Call, 'options' | 'given' | 'operands' | 'words'> {
    if (!options) return { options: {}, given: [], operands: words, words }
    const { output } = this.#session
    const line = new CommandLine<OptionKinds>([name, ...words], options, {
      warn: output.warn,
      mistake({ message }) {
        output.note(`${name}: ${message}`)
        return new UsageMistake()
      },
    })
    const given = [...line]
    if (!fits(line.operands.length, operandCount)) throw new UsageMistake()
    return { options: line.options, given, operands: line.operands, words: line.permuted }
  }

  #refuse(text: string): Outcome {
    this.#session.output.note(text)
    return 'failed'
  }

  #explain(error: unknown, command: AnyCommand): Outcome {
    const { output } = this.#session
    if (this.#session.isOver) return 'failed'
    if (error instanceof UsageMistake) output.print(commandHelp(command))
    else if (error instanceof Stop) {
      output.print(error.message)
      return error.outcome
    } else if (error instanceof Failure) output.fail(error)
    else output.explain(error)
    return 'failed'
  }
}
