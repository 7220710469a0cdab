/** Votes of the children of a quorum: which of several answers most of them gave. */

/** An answer, and the children that gave it. */
export interface Version<T> {
  readonly value: T
  /** Indexes of children. */
  readonly voters: readonly number[]
}

/**
 * Counts votes.
 *
 * @param votes a child's index with its answer
 * @returns the answers; of two that are equally frequent the one that appeared last comes first, as in QEMU
 */
export function countVotes<T>(
  votes: Iterable<readonly [index: number, value: T]>,
  isSame: (one: T, other: T) => boolean,
): readonly Version<T>[] {
  const versions: { readonly value: T; readonly voters: number[] }[] = []
  for (const [index, value] of votes) {
    const known = versions.find((version) => isSame(version.value, value))
    if (known) known.voters.push(index)
    else versions.unshift({ value, voters: [index] })
  }
  return versions.sort((a, b) => b.voters.length - a.voters.length)
}
