/** Contestants in turn, round by round, so that a busy moment of the machine hits all of them alike. */

/** What one run cost, per request or per command, in microseconds. */
export interface Sample {
  readonly wall: number
  /** User and system time. */
  readonly cpu: number
}

/** Somebody who takes part. */
export interface Contestant {
  /** `qemu`, the id of a runtime, or that with `empty` for a script that does nothing. */
  readonly side: string
  /** One turn. What it needs to start from is made in it, and not part of the sample. */
  run(): Promise<Sample>
}

/** All samples of each side, by round. */
export type Samples = Readonly<Record<string, readonly Sample[]>>

/**
 * Lets everybody run once a round. Every other round goes backwards: nobody always runs after the same one.
 *
 * @param onRound told the number of rounds that are done
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
