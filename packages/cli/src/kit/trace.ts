/** `-T`: there are no trace events here; the programs warn as QEMU does for unknown events. */
import { Failure } from './failure.ts'

/**
 * Warns about events requested by name; a pattern that matches nothing is not a mistake.
 *
 * @param warn takes the warnings, without prefix and newline
 * @throws Failure for files of events or traces, and for other keys
 */
export function warnOfTrace(value: string, warn: (message: string) => void): void {
  for (const part of value.split(',')) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? 'enable' : part.slice(0, equals)
    if (key === 'file' || key === 'events')
      throw new Failure(`tracing to or from files is not supported: '${part}'`)
    if (key !== 'enable') throw new Failure(`Invalid parameter '${key}'`)
    const name = part.slice(equals + 1).replace(/^-/, '')
    if (name !== '' && !name.includes('*')) warn(`trace event '${name}' does not exist`)
  }
}
