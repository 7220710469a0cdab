/** The report of a finished request: sizes, times and rates, in the exact form that scripts filter. */
import type { CheckReport } from '@vmblock/block-core'
import { fixedText as fixed } from '@vmblock/cli'

const UNITS = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const

/** A size, or a rate, for people: `64 KiB`, `1.500 MiB`, `390.164271 bytes`. Cut at any `.000`. */
export function humanSize(value: number): string {
  let i: number = UNITS.length
  while (i > 0 && value < 1024 ** i) i--
  const text = i === 0 ? fixed(value, 6) : fixed(value / 1024 ** i, 3)
  const cut = text.indexOf('.000')
  return `${cut < 0 ? text : text.slice(0, cut)} ${UNITS[i - 1] ?? 'bytes'}`
}

const NANOSECONDS = 1e9

/** `0:00:00.00`: hours, minutes and seconds. */
function clockTime(nanoseconds: number): string {
  const seconds = Math.floor(nanoseconds / NANOSECONDS)
  const rest = (seconds % 60) + (nanoseconds % NANOSECONDS) / NANOSECONDS
  const minutes = Math.floor(seconds / 60) % 60
  return `${Math.floor(seconds / 3600)}:${String(minutes).padStart(2, '0')}:${fixed(rest, 2).padStart(5, '0')}`
}

/** A duration: `00.05 sec` below a second, else as {@link clockTime}. */
function duration(nanoseconds: number): string {
  if (nanoseconds >= NANOSECONDS) return clockTime(nanoseconds)
  return `${fixed(nanoseconds / NANOSECONDS, 2).padStart(5, '0')} sec`
}

/** A finished request, in bytes and nanoseconds. */
export interface Finished {
  /** The operation as qemu-io names it here: `read`, `wrote`, `discard`. */
  readonly operation: string
  readonly offset: number
  readonly bytes: number
  readonly nanoseconds: number
  /** `-C`: one line of numbers instead of two lines for people. */
  readonly machine: boolean
}

/** The report of a request that succeeded, with its newline. */
export function report({ operation, offset, bytes, nanoseconds, machine }: Finished): string {
  const seconds = nanoseconds / NANOSECONDS
  const rate = bytes / seconds
  const operations = 1 / seconds
  if (machine) return `${bytes},1,${clockTime(nanoseconds)},${fixed(rate, 3)},${fixed(operations, 3)}\n`
  return (
    `${operation} ${bytes}/${bytes} bytes at offset ${offset}\n` +
    `${humanSize(bytes)}, 1 ops; ${duration(nanoseconds)} (${humanSize(rate)}/sec and ${fixed(operations, 4)} ops/sec)\n`
  )
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`

/** What a repair at open found and did, in one line: after a crash, the findings alone look like a loss of data. */
export function repairText({ corruptionsFixed, leaksFixed, corruptions, checkErrors }: CheckReport): string {
  const left = corruptions + checkErrors
  const done = `The image was not closed: repaired ${count(corruptionsFixed, 'error')} and ${count(leaksFixed, 'leak')}.`
  return left === 0 ? `${done} The data is there.\n` : `${done} Left: ${count(left, 'error')}.\n`
}
