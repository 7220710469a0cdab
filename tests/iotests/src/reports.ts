/**
 * Parsers of the programs' output: qemu-io's reports without their timing, qemu-img's check verdicts.
 * @module
 */
import type { Run } from './subject.ts'

/** One `read|wrote|discard DONE/WANTED bytes at offset OFFSET`. */
export interface Report {
  readonly verb: string
  readonly done: number
  readonly wanted: number
  readonly offset: number
}

/** A parsed run of qemu-io. */
export interface IoResult {
  readonly code: number
  /** Output without prompts and timing lines. */
  readonly text: string
  readonly reports: readonly Report[]
  /** Failed `-P` verifications. */
  readonly mismatches: readonly { readonly offset: number; readonly bytes: number }[]
  /** Every other line, in order. */
  readonly lines: readonly string[]
}

const REPORT = /^(read|wrote|discard) (\d+)\/(\d+) bytes at offset (\d+)$/
const MISMATCH = /^Pattern verification failed at offset (\d+), (\d+) bytes$/
const TIMING = /^[\d.]+ (bytes|[KMGTPE]iB), \d+ ops; .* \(.*\/sec and .* ops\/sec\)$/

/** Removes prompts and timing lines from qemu-io's output. */
export function filterIo(text: string): string {
  return text
    .replaceAll('qemu-io> ', '')
    .split('\n')
    .filter((line) => !TIMING.test(line))
    .join('\n')
}

/** Parses a run of qemu-io. */
export function parseIo(run: Run): IoResult {
  const text = filterIo(run.text)
  const reports: Report[] = []
  const mismatches: { offset: number; bytes: number }[] = []
  const lines: string[] = []
  for (const line of text.split('\n')) {
    const report = REPORT.exec(line)
    const mismatch = MISMATCH.exec(line)
    if (report) {
      const [, verb = '', done, wanted, offset] = report
      reports.push({ verb, done: Number(done), wanted: Number(wanted), offset: Number(offset) })
    } else if (mismatch) {
      mismatches.push({ offset: Number(mismatch[1]), bytes: Number(mismatch[2]) })
    } else if (line !== '') {
      lines.push(line)
    }
  }
  return { code: run.code, text, reports, mismatches, lines }
}

/** Returns why a qemu-io run was not a plain success, or undefined. */
export function ioFailure(result: IoResult): string | undefined {
  const mismatch = result.mismatches[0]
  if (mismatch) return `pattern verification failed at offset ${mismatch.offset}, ${mismatch.bytes} bytes`
  const short = result.reports.find((report) => report.done !== report.wanted)
  if (short) return `short ${short.verb} at offset ${short.offset}`
  const bad = result.lines.find((line) =>
    /failed|error|invalid|not found|cannot|can't|no file open|unable/i.test(line),
  )
  if (bad !== undefined) return bad
  return result.code === 0 ? undefined : `exit status ${result.code}`
}

/** The verdict of `qemu-img check`. */
export interface Verdict {
  readonly code: number
  readonly errors: number
  readonly leaks: number
  /** Errors of the check itself (it could not read something). */
  readonly checkErrors: number
  /** Numbers that a repair reports as repaired. */
  readonly fixed: { readonly leaks: number; readonly corruptions: number }
  readonly text: string
}

const count = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0)

/** Parses the human output of `qemu-img check`. */
export function parseCheck(run: Run): Verdict {
  const { text } = run
  return {
    code: run.code,
    errors: count(text, /^(\d+) errors were found on the image/m),
    leaks: count(text, /^(\d+) leaked clusters were found on the image/m),
    checkErrors: count(text, /^(\d+) internal errors have occurred during the check/m),
    fixed: {
      leaks: count(text, /^ {4}(\d+) leaked clusters$/m),
      corruptions: count(text, /^ {4}(\d+) corruptions$/m),
    },
    text,
  }
}
