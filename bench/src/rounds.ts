/** Contestants in turn, round by round, so that a busy moment of the machine affects all of them alike. */

/** The cost of one run, per request or per command, in microseconds. */
export interface Sample {
  readonly wall: number
  /** User and system time. */
  readonly cpu: number
}

/** A program under comparison. */
export interface Contestant {
  /** `qemu`, the id of a runtime, or that with `empty` for a script that does nothing. */
  readonly side: string
  /** Takes one turn. Its preparations are not part of the sample. */
  run(): Promise<Sample>
}

/** All samples of each side, by round. */
export type Samples = Readonly<Record<string, readonly Sample[]>>

/**
 * Runs every contestant once a round. Every other round is in reverse order, so that none always runs after
 * the same one.
 *
 * @param onRound receives the number of completed rounds
 */
export async function takeTurns(
  contestants: readonly Contestant[],
  rounds: number,
  onRound: (done: number) => void = () => {},
): Promise<Samples> {
  const samples: Record<string, Sample[]> = {}
  for (const { side } of contestants) samples[side] = []
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contestants : [...contestants].reverse()
    for (const { side, run } of order) samples[side]!.push(await run())
    onRound(round + 1)
  }
  return samples
}
