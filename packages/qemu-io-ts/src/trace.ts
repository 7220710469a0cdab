/** `-T`: this program has no trace events, and says what QEMU says of events it has not. */
import { Stop } from './command.ts'

/** Warns of events asked for by name; a pattern that matches nothing is no mistake. @throws Stop */
export function warnOfTrace(value: string, complain: (text: string) => void): void {
  for (const part of value.split(',')) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? 'enable' : part.slice(0, equals)
    const pattern = part.slice(equals + 1)
    if (key === 'file' || key === 'events')
      throw new Stop(`tracing to or from files is not supported: '${part}'\n`, 'error')
    if (key !== 'enable') throw new Stop(`Invalid parameter '${key}'\n`, 'error')
    const name = pattern.replace(/^-/, '')
    if (!name.includes('*') && name !== '')
      complain(`qemu-io: warning: trace event '${name}' does not exist\n`)
  }
}
