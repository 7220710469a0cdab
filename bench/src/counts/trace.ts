/** The calls of a program on one file, parsed from the output of `strace -f -y -s 1`. */
import type { Call } from './counts.ts'

/** The system calls to trace. */
export const TRACED = 'trace=pwrite64,pwritev,pwritev2,fdatasync,fsync,fallocate,ftruncate'

const CALL = /\b(pwrite64|pwritev2?|fdatasync|fsync|fallocate|ftruncate)\(\d+<([^>]*)>(.*)/

/** Parses a trace. Calls on files other than `filename` are left out. */
export function parseTrace(text: string, filename: string): Call[] {
  const calls: Call[] = []
  for (const line of text.split('\n')) {
    // A call that another thread interrupted is printed twice; its arguments come the first time.
    const [, name, path, rest] = CALL.exec(line) ?? []
    if (name === undefined || rest === undefined || path !== filename) continue
    if (name === 'fdatasync' || name === 'fsync') calls.push(callOf('flush'))
    else if (name === 'fallocate' || name === 'ftruncate') calls.push(callOf('other'))
    else calls.push(parseWrite(name, rest))
  }
  return calls
}

const callOf = (kind: 'flush' | 'other'): Call => ({ kind, offset: 0, bytes: 0, isPattern: false })

function parseWrite(name: string, rest: string): Call {
  const isPattern = /"Z"/.test(rest)
  if (name === 'pwrite64') {
    const [, bytes, offset] = /, (\d+), (\d+)(?:\)| <)/.exec(rest) ?? []
    return { kind: 'write', offset: Number(offset), bytes: Number(bytes), isPattern }
  }
  const bytes = [...rest.matchAll(/iov_len=(\d+)/g)].reduce((total, [, length]) => total + Number(length), 0)
  const [, offset] = /\], \d+, (\d+)/.exec(rest) ?? []
  return { kind: 'write', offset: Number(offset), bytes, isPattern }
}
