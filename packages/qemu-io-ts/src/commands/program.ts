/** Commands about the program itself: `help`, `quit`, `sleep`, `abort` and `sigraise`. */
import { readLong } from '@vmblock/cli'
import { commandHelp, defineCommand, Stop } from '../session/command.ts'
import { parseSize } from '../session/kinds.ts'
import type { Session } from '../session/session.ts'

/** `help`. */
export const help = defineCommand({
  name: 'help',
  alias: '?',
  usage: '[command]',
  operandsAre: 'commands',
  summary: 'help for one or all commands',
  needsImage: false,
  wordCount: { min: 0, max: 1 },

  async run({ commands, operands: [name], print }) {
    if (name === undefined) {
      for (const command of commands) print(commandHelp(command))
      print("\nUse 'help commandname' for extended help.\n")
      return 'ok'
    }
    const command = commands.find((known) => [known.name, known.alias, known.longAlias].includes(name))
    if (!command) throw new Stop(`command ${name} not found\n`)
    print(commandHelp(command, name))
    if (command.details) print(`\n${command.details.map((line) => ` ${line}`.trimEnd()).join('\n')}\n\n`)
    return 'ok'
  },
})

/** `quit`. */
export const quit = defineCommand({
  name: 'quit',
  alias: 'q',
  longAlias: 'exit',
  summary: 'exit the program',
  needsImage: false,
  wordCount: { min: 0 },

  async run({ session }) {
    session.end({ kind: 'quit' })
    return 'ok'
  },
})

/** `sleep`. Requests in flight continue meanwhile. */
export const sleep = defineCommand({
  name: 'sleep',
  summary: 'waits for the given value in milliseconds',
  needsImage: false,
  wordCount: { min: 1, max: 1 },

  async run({ session, operands: [word] }) {
    const milliseconds = readLong(word!)
    if (milliseconds === undefined || milliseconds < 0) throw new Stop(`${word} is not a valid number\n`)
    await session.wait(session.services.sleep(milliseconds), null)
    return 'ok'
  },
})

const SIGABRT = 6

/** Raises a signal in the process; if the process must survive, crashes the image instead. */
async function raise(session: Session, signal: number): Promise<void> {
  session.output.flush()
  const { raise } = session.services
  if (raise) raise(signal)
  else if (signal !== 0) await session.crash(signal)
}

/** `abort`: dies without flushing or closing the image; only printed text is flushed. */
export const abort = defineCommand({
  name: 'abort',
  summary: 'simulate a program crash using abort(3)',
  needsImage: false,
  wordCount: { min: 0, max: 0 },

  async run({ session }) {
    await raise(session, SIGABRT)
    return 'ok'
  },
})

/** The C library's NSIG on Linux; QEMU accepts the number itself. */
const NSIG = 65

/** `sigraise`. */
export const sigraise = defineCommand({
  name: 'sigraise',
  usage: 'signal',
  summary: 'raises a signal',
  details: ["Example: 'sigraise 15' raises SIGTERM.", '', 'The signal is given by its number.'],
  needsImage: false,
  wordCount: { min: 1, max: 1 },

  async run({ session, operands: [word], warn }) {
    const signal = parseSize(word!, warn)
    if (signal > NSIG) throw new Stop(`signal argument '${word}' is too large to be a valid signal\n`)
    await raise(session, signal)
    return 'ok'
  },
})
