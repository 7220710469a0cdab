/**
 * Judges what a killed process left: every sector is as the last durable write left it, or as a later write
 * did.
 * @module
 */
import {
  type Change,
  fillSector,
  KILL_DISK,
  type KillOrder,
  LANES,
  SECTOR,
  type Step,
  stepsOf,
} from './kill-plan.ts'

/** One content that a sector had, or was about to have. */
interface Version {
  readonly lane: number
  readonly index: number
  readonly kind: Change['kind']
  /** Number of the line that reported the write as done; Infinity: none. */
  done: number
}

/** Judges a disk by the output of its killed process. */
export class KillJudge {
  readonly #versions = new Map<number, Version[]>()
  /** Everything done before this line is durable, by a flush. */
  #durable = -1
  readonly #writeThrough: boolean
  /** Whether discards change nothing. */
  readonly #keepsDiscarded: boolean
  /** Whether discards change something only where the host can punch holes. */
  readonly #mayKeepDiscarded: boolean

  /**
   * @param lines the output of the process
   * @param writeThrough whether every write that was done is durable
   */
  constructor(order: KillOrder, lines: readonly string[], writeThrough: boolean) {
    this.#writeThrough = writeThrough
    this.#keepsDiscarded = order.discards === 'nothing'
    this.#mayKeepDiscarded = order.discards === 'perhaps'
    const steps = Array.from({ length: LANES }, (_, lane) => stepsOf(order, lane))
    const current: (Step | undefined)[] = []
    const started: number[] = []
    for (const [at, line] of lines.entries()) {
      if (line === 'opening') continue
      const [verb, laneText, indexText] = line.split(' ')
      const lane = Number(laneText)
      if (verb === 'start') {
        current[lane] = steps[lane]!.next().value as Step
        started[lane] = at
        this.#begin(current[lane], lane, Number(indexText))
        continue
      }
      const step = current[lane]
      if (verb !== 'done' || step === undefined) throw new Error(`the process said: ${line}`)
      if (step.kind === 'flush') this.#durable = Math.max(this.#durable, started[lane]!)
      else if (step.kind !== 'resize') this.#finish(step, at)
    }
  }

  /** A write-through write is durable when it is done. A discard, which is only advice, waits for a flush. */
  #isDurable({ kind, done }: Version): boolean {
    if (kind === 'discard' && this.#mayKeepDiscarded) return false
    if (this.#writeThrough && kind !== 'discard') return done < Number.POSITIVE_INFINITY
    return done <= this.#durable
  }

  #begin(step: Step, lane: number, index: number): void {
    if (step.kind === 'flush' || step.kind === 'resize') return
    if (step.kind === 'discard' && this.#keepsDiscarded) return
    for (let sector = step.offset; sector < step.offset + step.length; sector += SECTOR) {
      const versions = this.#versions.get(sector) ?? []
      versions.push({ lane, index, kind: step.kind, done: Number.POSITIVE_INFINITY })
      this.#versions.set(sector, versions)
    }
  }

  #finish(step: Change, at: number): void {
    if (step.kind === 'discard' && this.#keepsDiscarded) return
    for (let sector = step.offset; sector < step.offset + step.length; sector += SECTOR)
      this.#versions.get(sector)!.at(-1)!.done = at
  }

  /** @throws Error naming the first sector with contents that it must not have */
  judge(disk: Uint8Array, initial: Uint8Array): void {
    const wanted = new Uint8Array(SECTOR)
    for (let offset = 0; offset < KILL_DISK; offset += SECTOR) {
      const sector = disk.subarray(offset, offset + SECTOR)
      const versions = this.#versions.get(offset) ?? []
      const floor = versions.findLastIndex((version) => this.#isDurable(version))
      const fits = versions.slice(Math.max(floor, 0)).some(({ lane, index, kind }) => {
        if (kind !== 'write') wanted.fill(0)
        else fillSector(wanted, offset, lane, index)
        return equal(sector, wanted)
      })
      if (fits || (floor < 0 && equal(sector, initial.subarray(offset, offset + SECTOR)))) continue
      throw new Error(
        `sector at ${offset} holds ${hex(sector)}, versions ${JSON.stringify(versions)}, durable up to ${floor}`,
      )
    }
  }
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, index) => byte === b[index])

const hex = (bytes: Uint8Array): string =>
  [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
