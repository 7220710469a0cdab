/** Commands typed at a terminal: editing, history and completion by Node's readline, which the program hands in. */
import type { CommandInput } from './main.ts'

/** The parts of `node:readline` and of the terminal that are used. */
export interface TerminalParts {
  createInterface(options: {
    readonly prompt: string
    readonly completer: (line: string) => [completions: string[], typed: string]
  }): LineEditor
  /** Raw mode, in which Ctrl-C is a key; cooked mode, in which it ends the program. */
  setRawMode(raw: boolean): void
  /** The person pressed Ctrl-C at the prompt. */
  interrupt(): void
  /** Calls `listener` when the program goes on after it was stopped (Ctrl-Z and `fg`, SIGCONT). */
  onContinue(listener: () => void): void
  write(text: string): void
}

/** What is used of readline's `Interface`. */
export interface LineEditor {
  prompt(preserveCursor?: boolean): void
  pause(): void
  resume(): void
  close(): void
  on(event: 'line', listener: (line: string) => void): unknown
  on(event: 'close' | 'SIGINT' | 'SIGCONT', listener: () => void): unknown
}

/** Input from a terminal. The history lasts as long as the program, as QEMU's does. */
export function terminalInput(parts: TerminalParts): CommandInput {
  let editor: LineEditor | undefined
  let ended = false
  const typed: string[] = []
  let deliver: ((line: string | undefined) => void) | undefined

  const open = (prompt: string, complete: (typed: string) => readonly string[]): LineEditor => {
    // Only the first word is a command.
    const completer = (line: string): [string[], string] => [
      /^\S*$/.test(line) ? complete(line).map((name) => `${name} `) : [],
      line,
    ]
    const created = parts.createInterface({ prompt, completer })
    created.on('line', (line) => {
      if (!deliver) {
        typed.push(line)
        return
      }
      // While the command runs the terminal is as the shell left it, so that Ctrl-C ends the program.
      created.pause()
      parts.setRawMode(false)
      take(line)
    })
    created.on('SIGINT', () => {
      created.close()
      parts.interrupt()
    })
    // The shell had the terminal in its own mode meanwhile, and readline, when it was it that stopped the program, waits to be resumed.
    const goOn = (): void => {
      if (!deliver) return
      // In raw mode it already is, as far as Node knows.
      parts.setRawMode(false)
      parts.setRawMode(true)
      created.prompt(true)
    }
    created.on('SIGCONT', goOn)
    parts.onContinue(goOn)
    created.on('close', () => {
      ended = true
      if (deliver) parts.write('\n')
      take(undefined)
    })
    return created
  }
  const take = (line: string | undefined): void => {
    const waiting = deliver
    deliver = undefined
    waiting?.(line)
  }

  return {
    nextLine(prompt, complete) {
      if (typed.length > 0) return Promise.resolve(typed.shift())
      if (ended) return Promise.resolve(undefined)
      const first = editor === undefined
      editor ??= open(prompt, complete)
      return new Promise((resolve) => {
        deliver = resolve
        if (!first) {
          parts.setRawMode(true)
          editor!.resume()
        }
        editor!.prompt()
      })
    },
  }
}
