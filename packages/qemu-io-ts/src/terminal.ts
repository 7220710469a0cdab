/** Input from a terminal: editing, history and completion by Node's readline, which the program passes in. */
import type { CommandInput } from './main.ts'

/** The functions of `node:readline` and of the terminal that are needed. */
export interface TerminalParts {
  createInterface(options: {
    readonly prompt: string
    readonly completer: (line: string) => [completions: string[], typed: string]
  }): LineEditor
  /** Raw mode, in which Ctrl-C is a key; cooked mode, in which it ends the program. */
  setRawMode(raw: boolean): void
  /** Called when Ctrl-C was pressed at the prompt. */
  interrupt(): void
  /** Calls `listener` when the program continues after it was stopped (Ctrl-Z and `fg`, SIGCONT). */
  onContinue(listener: () => void): void
  write(text: string): void
}

/** The methods of readline's `Interface` that are needed. */
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
      // While the command runs, the terminal is in the shell's mode, so that Ctrl-C ends the program.
      created.pause()
      parts.setRawMode(false)
      take(line)
    })
    created.on('SIGINT', () => {
      created.close()
      parts.interrupt()
    })
    // The shell changed the terminal's mode meanwhile; and if readline itself stopped the program, it waits
    // to be resumed.
    const goOn = (): void => {
      if (!deliver) return
      // Node believes that raw mode is still on, so it must be turned off first.
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
