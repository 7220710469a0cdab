/** Input from a terminal: editing, history and completion by Node's readline, which the program passes in. */
import type { History } from './history.ts'
import type { CommandInput } from './main.ts'
import type { Completion } from './session/complete.ts'

/** The functions of `node:readline` and of the terminal that are needed. */
export interface TerminalParts {
  createInterface(options: {
    readonly prompt: string
    readonly completer: (line: string) => [completions: string[], typed: string]
    /** The newest line first. */
    readonly history: string[]
    readonly historySize: number
  }): LineEditor
  /** Raw mode, in which Ctrl-C is a key; cooked mode, in which it is a signal. */
  setRawMode(raw: boolean): void
  /** Calls `listener` when the program continues after it was stopped (Ctrl-Z and `fg`, SIGCONT). */
  onContinue(listener: () => void): void
  write(text: string): void
  readonly history: History
}

/** The methods of readline's `Interface` that are needed. */
export interface LineEditor {
  /** What has been typed of the line. */
  readonly line: string
  prompt(preserveCursor?: boolean): void
  pause(): void
  resume(): void
  close(): void
  /** Types a key. */
  write(text: null, key: { readonly ctrl: true; readonly name: string }): void
  on(event: 'line', listener: (line: string) => void): unknown
  on(event: 'close' | 'SIGINT' | 'SIGCONT', listener: () => void): unknown
}

const HOW_TO_END = '(quit or Ctrl-D ends the program)'

/** Input from a terminal. */
export function terminalInput(parts: TerminalParts, historySize: number): CommandInput {
  const { history } = parts
  let editor: LineEditor | undefined
  let ended = false
  const typed: string[] = []
  let deliver: ((line: string | undefined) => void) | undefined

  const open = (prompt: string, complete: (line: string) => Completion): LineEditor => {
    const created = parts.createInterface({
      prompt,
      completer: (line) => {
        const { candidates, typed: word } = complete(line)
        return [[...candidates], word]
      },
      history: [...history.earlier],
      historySize,
    })
    created.on('line', (line) => {
      // At once: the command may be the death of the program.
      history.add(line)
      if (!deliver) {
        typed.push(line)
        return
      }
      // While the command runs, the terminal is in the shell's mode, so that Ctrl-C is a signal.
      created.pause()
      parts.setRawMode(false)
      take(line)
    })
    created.on('SIGINT', () => {
      const hint = created.line === '' ? `${HOW_TO_END}\n` : ''
      // Without this key, readline would go on with the rest of the line.
      created.write(null, { ctrl: true, name: 'e' })
      created.write(null, { ctrl: true, name: 'u' })
      parts.write(`^C\n${hint}`)
      created.prompt()
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
