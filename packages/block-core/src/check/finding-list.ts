/** Keeps the findings of a check, each once and as it is in the end. Checks themselves keep none. */
import type { CheckFinding } from '../contract/findings.ts'

/** Findings that are kept: enough to see what happened to an image, and some megabytes. */
const LIMIT = 10_000

/**
 * The findings of one check, or of a repair and the check after it: pass it each finding, by
 * `report: (finding) => list.add(finding)`. Takes memory for `limit` findings.
 */
export class FindingList {
  readonly #limit: number
  readonly #findings = new Map<string, CheckFinding>()
  #omitted = 0

  /** @param limit how many findings are kept */
  constructor(limit = LIMIT) {
    this.#limit = limit
  }

  /** Adds a finding, by the rules of {@link CheckFinding.repaired}. */
  add(finding: CheckFinding): void {
    if (finding.what === 'refcounts-rebuilt')
      for (const [key, before] of this.#findings) this.#findings.set(key, { ...before, repaired: true })
    const key = keyOf(finding)
    if (this.#findings.size < this.#limit || this.#findings.has(key)) this.#findings.set(key, finding)
    else this.#omitted++
  }

  /** The findings, in the order in which each was first told. */
  get findings(): CheckFinding[] {
    return [...this.#findings.values()]
  }
  /** How many findings were told beyond the limit; those that were told twice count twice. */
  get omitted(): number {
    return this.#omitted
  }
}

const keyOf = ({ what, offset, owner }: CheckFinding): string =>
  [what, offset, owner?.structure, owner?.offset, owner?.index].join()
