/**
 * What a disk must hold: a byte-array model, kept as runs of equal bytes so that terabytes cost nothing.
 * @module
 */

/** Bytes `start` to `end` (exclusive), all equal to `byte`. */
export interface ByteRun {
  readonly start: number
  readonly end: number
  readonly byte: number
}

/** A model disk. It starts as zeroes. */
export class Contents {
  #runs: ByteRun[]

  constructor(size: number) {
    this.#runs = [{ start: 0, end: size, byte: 0 }]
  }

  /** Bytes of the disk. */
  get size(): number {
    return this.#runs.at(-1)?.end ?? 0
  }

  /** Runs in order; adjacent runs have different bytes. */
  get runs(): readonly ByteRun[] {
    return this.#runs
  }

  /** Sets a range to one byte; a range beyond the end is an error of the test. */
  fill(offset: number, bytes: number, byte: number): this {
    const end = offset + bytes
    if (offset < 0 || end > this.size) throw new RangeError(`${offset}+${bytes} is outside the model disk`)
    const before = this.#runs.filter((run) => run.start < offset).map((run) => cut(run, 0, offset))
    const after = this.#runs.filter((run) => run.end > end).map((run) => cut(run, end, run.end))
    this.#runs = merged([...before, { start: offset, end, byte }, ...after])
    return this
  }

  /** Grows with zeroes, or truncates. */
  resize(size: number): this {
    const kept = this.#runs.filter((run) => run.start < size).map((run) => cut(run, 0, size))
    if (size > this.size) kept.push({ start: this.size, end: size, byte: 0 })
    this.#runs = merged(kept)
    return this
  }

  /** An independent copy. */
  clone(): Contents {
    const copy = new Contents(0)
    copy.#runs = [...this.#runs]
    return copy
  }

  /** The runs inside a window. */
  within(from: number, to: number): ByteRun[] {
    return this.#runs.filter((run) => run.end > from && run.start < to).map((run) => cut(run, from, to))
  }

  /** qemu-io `read -P` commands that verify a window, none longer than 64 MiB. */
  readCommands(from = 0, to = this.size): string[] {
    const limit = 64 * 1024 * 1024
    const commands: string[] = []
    for (const run of this.within(from, to)) {
      for (let at = run.start; at < run.end; at += limit) {
        commands.push(`read -P ${run.byte} ${at} ${Math.min(limit, run.end - at)}`)
      }
    }
    return commands
  }
}

const cut = (run: ByteRun, from: number, to: number): ByteRun => ({
  start: Math.max(run.start, from),
  end: Math.min(run.end, to),
  byte: run.byte,
})

function merged(runs: readonly ByteRun[]): ByteRun[] {
  const result: ByteRun[] = []
  for (const run of runs) {
    if (run.end <= run.start) continue
    const last = result.at(-1)
    if (last?.byte === run.byte) result[result.length - 1] = { ...last, end: run.end }
    else result.push(run)
  }
  return result
}
