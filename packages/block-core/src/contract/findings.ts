/** What a check finds, as facts that a program can act on: a word, a place, an owner and a risk beside QEMU's line. */

/** Data is lost or wrong, or writes may make it so. */
const DANGER = { kind: 'corruption', dataAtRisk: true } as const
/** The image contradicts itself, and guest data is safe. */
const FLAW = { kind: 'corruption', dataAtRisk: false } as const
/** Guest data, or its whereabouts, could not be read. */
const UNREADABLE = { kind: 'failure', dataAtRisk: true } as const
/** A step of the check or of a repair failed; what it was about is a finding of its own. */
const FAILURE = { kind: 'failure', dataAtRisk: false } as const

/** Every word, with what follows from it. docs/check-findings.md explains each. */
export const FINDINGS = {
  'leaked-cluster': { kind: 'leak', dataAtRisk: false },
  'differing-copy': { kind: 'leak', dataAtRisk: false },
  'refcount-too-low': DANGER,
  'refcount-overflow': DANGER,
  'shared-cluster': DANGER,
  'copied-flag-set': DANGER,
  'copied-flag-missing': FLAW,
  'reference-outside-file': DANGER,
  'reference-into-header': DANGER,
  'unaligned-table': DANGER,
  'unaligned-cluster': DANGER,
  'unaligned-preallocation': FLAW,
  'oversized-table': DANGER,
  'reserved-bits': DANGER,
  'wrong-subclusters': DANGER,
  'compressed-with-data-file': DANGER,
  'snapshots-with-data-file': DANGER,
  'excess-snapshots': DANGER,
  'excess-snapshot-data': FLAW,
  'incomplete-snapshot': FLAW,
  'wrong-bitmap-directory': FLAW,
  'wrong-bitmap-entry': FLAW,
  'refcounts-rebuilt': FLAW,
  'unreadable-table': UNREADABLE,
  'unreadable-refcount': FAILURE,
  'rebuild-needed': FAILURE,
  'repair-failed': FAILURE,
  'check-given-up': FAILURE,
} as const

/** What is wrong. */
export type FindingWord = keyof typeof FINDINGS

/** The structure of an image file that refers to something, or holds a value. */
export type FindingStructure =
  | 'header'
  | 'l1-table'
  | 'l2-table'
  | 'refcount-table'
  | 'refcount-block'
  | 'snapshot-table'
  | 'bitmap-directory'
  | 'bitmap-table'

/** Which structure refers to the place of a finding, or holds the wrong value. */
export interface FindingOwner {
  readonly structure: FindingStructure
  /** Where the structure begins in the image file, in bytes. */
  readonly offset: number
  /** Which entry of it, from 0. */
  readonly index?: number
  /** The internal snapshot to which the structure, or the entry, belongs; absent for the active disk. */
  readonly snapshot?: { readonly id: string; readonly name: string }
  /** Where the guest sees what the entry covers, in bytes; behind the end of the disk, it is machine state. */
  readonly guestOffset?: number
}

/** One finding of a check: what programs print as one line. */
export interface CheckFinding {
  readonly what: FindingWord
  /** `failure`: something could not be read, checked or repaired. */
  readonly kind: 'corruption' | 'leak' | 'failure'
  /**
   * The range of the image file, in bytes: the cluster or table that is referred to, or else the entry that is wrong in
   * itself. It may lie outside the file; offsets above 2^53-1 are rounded.
   */
  readonly offset?: number
  readonly bytes?: number
  readonly owner?: FindingOwner
  /**
   * This check repairs it. A check tells what it finds before it knows everything, so it may tell the same thing again:
   *
   * - A finding replaces an earlier one with the same `what`, `offset` and `owner`: a repair tells of a wrong refcount as
   *   it finds it, and again as it repairs it; and it takes back `repaired` if that repair fails.
   * - `refcounts-rebuilt` repairs all that was told before it, except what is told again after it.
   *
   * `FindingList` applies these rules. They hold if the check resolves: where it rejects, a repair that was told may not
   * have been made.
   */
  readonly repaired: boolean
  /** Guest data may be lost or wrong, now or by the next writes, as long as this is not repaired. */
  readonly dataAtRisk: boolean
  /** For people: what QEMU prints, word for word; one line, or two if there is advice. */
  readonly message: string
  /** QEMU prints nothing of it (and counts it all the same): programs that print what QEMU prints leave it out. */
  readonly silent?: true
}

/** What a driver knows of a finding besides its word and its message. */
export type FindingDetails = Partial<Pick<CheckFinding, 'offset' | 'bytes' | 'owner' | 'repaired' | 'silent'>>

/** Makes a finding. */
export const checkFinding = (what: FindingWord, message: string, details?: FindingDetails): CheckFinding => ({
  what,
  ...FINDINGS[what],
  repaired: false,
  ...details,
  message,
})
