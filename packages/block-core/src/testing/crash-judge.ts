/**
 * The rules for every state that a power cut may leave, whatever the workload. They are judged from the disks
 * alone; crash-guest.ts knows what content the guest's disk must show.
 */
import { SECTOR } from '../base/bits.ts'
import { messageOf } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CheckReport } from '../contract/reports.ts'
import { reopenNode } from '../open/reopen.ts'
import { joinFingerprints } from './crash-disk.ts'
import type { CrashImages } from './crash-images.ts'
import {
  areSameSnapshots,
  readShown,
  readStamps,
  type Shown,
  stampedSectors,
  stampText,
} from './crash-shown.ts'
import { type CrashDisks, forkDisks } from './crash-states.ts'
import type { CrashAllowance, CrashWorkload } from './crash-workload.ts'
import { createRandom } from './random.ts'

/** What holds after every power cut; findings have these names. */
export const CRASH_RULES = {
  opens: 'the image opens for reading and can be read to its end, and nothing is written by that',
  'reads back': 'what is durable shows, and every other sector shows what it once was, or was to become',
  'leaks at most': 'a check finds clusters that nothing refers to, and nothing worse',
  'dirty bit': 'whatever is worse than a leak stands under the bit that says so',
  repair: 'the image opens for writing, and is repaired then if need be',
  intact: 'a repair changes nothing that shows',
  'next write': 'the next writes and the shutdown go through, and change what was written alone',
  'own rules': 'what the workload requires holds, before the next writes and after them',
  clean: 'nothing is left to repair then, and leaks, if there were any, can be',
} as const

/** One of {@link CRASH_RULES}. */
export type CrashRule = keyof typeof CRASH_RULES

/** A rule that was broken. */
export interface CrashFinding {
  readonly rule: CrashRule
  /** Name of the image. */
  readonly image: string
  readonly message: string
}

/** The findings on one image. */
export interface Verdict {
  /** The content before any repair. */
  readonly shown: Shown
  /** The content of its raw data file, which must be the same, if it has one. */
  readonly raw: Shown | undefined
  /** Whether the image is marked as needing a repair, or has leaks. */
  readonly isRepairable: boolean
}

/** A {@link CrashFinding} as an exception. */
export class RuleBroken extends Error {
  readonly finding: CrashFinding

  constructor(rule: CrashRule, image: string, message: string) {
    super(`${rule}: ${message}`)
    this.finding = { rule, image, message }
  }
}

/** Stamps of data written after a power cut; the counters of guests never get this far. */
const LATER_STAMPS = 0x7000_0000

/** How many verdicts are remembered: equal disks occur at moments close together. */
const MEMORY = 256

/** Examines images. Equal disks are examined once. */
export class CrashJudge {
  readonly #images: CrashImages
  readonly #allows: CrashAllowance
  readonly #inspect: CrashWorkload['inspect']
  readonly #verdicts = new Map<string, Verdict>()

  constructor(images: CrashImages, { allows = {}, inspect }: Pick<CrashWorkload, 'allows' | 'inspect'> = {}) {
    this.#images = images
    this.#allows = allows
    this.#inspect = inspect
  }

  /** Examines one image without changing its disks. @throws RuleBroken */
  async look(image: string, disks: CrashDisks): Promise<Verdict> {
    const own = new Map(this.#images.disksOf(image).map((name) => [name, disks.get(name)!]))
    const fingerprint = fingerprintOf(own)
    const key = `${image} ${fingerprint}`
    const known = this.#verdicts.get(key)
    if (known) return known
    const before = await this.#readOnly(image, own)
    if (fingerprintOf(own) !== fingerprint) throw new RuleBroken('opens', image, 'a reader wrote to the disk')
    await this.#goOn(image, own, before, fingerprint)
    const { shown, dirty, leaks } = before
    const raw = await this.#rawData(image, disks, shown)
    const verdict = { shown, raw, isRepairable: dirty || leaks > 0 }
    if (this.#verdicts.size >= MEMORY) this.#verdicts.delete(this.#verdicts.keys().next().value!)
    this.#verdicts.set(key, verdict)
    return verdict
  }

  async #readOnly(image: string, disks: CrashDisks): Promise<Found> {
    return step('opens', image, async () => {
      const node = await this.#images.open(image, disks, { readOnly: true })
      const dirty = (await node.info()).dirty === true
      const lines: string[] = []
      const report = node.can('check')
        ? await this.#checked(node, lines)
        : { corruptions: 0, leaks: 0, corruptionsFixed: 0, leaksFixed: 0, checkErrors: 0 }
      this.#requireConsistent(image, dirty, report, lines)
      const shown = await readShown(node)
      await step('own rules', image, async () => this.#inspect?.(node, shown, image))
      await node.close()
      return { shown, dirty, leaks: report.leaks }
    })
  }

  /** Checks an image. Wrong flags are left out if they are allowed. */
  async #checked(node: BlockNode, lines: string[], repair?: 'all'): Promise<CheckReport> {
    let flags = 0
    const report = await node.check({
      ...(repair && { repair }),
      report: ({ message, what }) => {
        if (this.#allows.flags && (what === 'copied-flag-set' || what === 'copied-flag-missing')) flags++
        else lines.push(message)
      },
    })
    const fixed = Math.min(flags, report.corruptionsFixed)
    return {
      ...report,
      corruptionsFixed: report.corruptionsFixed - fixed,
      corruptions: report.corruptions - (flags - fixed),
    }
  }

  /** Reads the raw data file. It may be longer than the image for a while, but never shorter. */
  async #rawData(image: string, disks: CrashDisks, { size }: Shown): Promise<Shown | undefined> {
    const data = this.#images.rawDataOf(image, disks)
    if (!data) return undefined
    const { size: dataSize, stamps } = await readShown(data.node())
    return { size: Math.min(size, dataSize), stamps: stamps.subarray(0, size / SECTOR) }
  }

  #requireConsistent(image: string, dirty: boolean, report: CheckReport, lines: readonly string[]): void {
    const mayBeDirty = this.#allows.dirty === true
    if (dirty && !mayBeDirty) throw new RuleBroken('dirty bit', image, 'it is set, where it never has to be')
    if (report.checkErrors === 0 && (report.corruptions === 0 || dirty)) return
    throw new RuleBroken(mayBeDirty ? 'dirty bit' : 'leaks at most', image, problems(report, lines))
  }

  /** Opens the image for writing, writes to it, and closes it; then everything must be right. */
  async #goOn(image: string, original: CrashDisks, before: Found, seed: number): Promise<void> {
    const disks = forkDisks(original)
    const node = await step('repair', image, () => this.#openForWriting(image, disks, seed))
    const expected = before.shown.stamps.slice()
    await step('next write', image, async () => {
      if (node.size !== before.shown.size)
        throw new RuleBroken('intact', image, `its size became ${node.size}, from ${before.shown.size}`)
      await writeOn(image, node, expected, seed)
      await node.close()
    })
    const wrong = await step('clean', image, () => this.#lookAgain(image, disks, before, expected))
    if (wrong === undefined) return
    const rule = (await this.#isDamagedByRepair(image, original, before.shown)) ? 'intact' : 'next write'
    throw new RuleBroken(rule, image, wrong)
  }

  /** One time in four, opens the image read-only first and makes it writable by a reopen. */
  async #openForWriting(image: string, disks: CrashDisks, seed: number): Promise<BlockNode> {
    if (seed % 4 !== 0) return this.#images.open(image, disks)
    const node = await this.#images.open(image, disks, { readOnly: true })
    await reopenNode(node, { readOnly: false })
    return node
  }

  /** @returns which content is wrong, if any */
  async #lookAgain(
    image: string,
    disks: CrashDisks,
    before: Found,
    expected: Uint32Array,
  ): Promise<string | undefined> {
    const unrepaired = forkDisks(disks)
    const node = await this.#images.open(image, disks, { checkMode: true })
    const fail = (message: string): RuleBroken => new RuleBroken('clean', image, message)
    if ((await node.info()).dirty === true) throw fail('it says that it needs a repair')
    if (node.can('check')) {
      const lines: string[] = []
      const report = await this.#checked(node, lines, 'all')
      const { corruptions, corruptionsFixed, checkErrors, leaks, leaksFixed } = report
      // A cluster that was counted twice and used once is a leak, and its entry rightly says that it is shared. Once the leak is
      // repaired, it says so wrongly: that, too, counts as repaired then.
      const isFlagOfLeak =
        corruptionsFixed > 0 && leaksFixed > 0 && (await this.#hasOnlyLeaks(image, unrepaired))
      if (corruptions + checkErrors > 0 || (corruptionsFixed > 0 && !isFlagOfLeak))
        throw fail(problems(report, lines))
      const mayLeak = this.#allows.leaks === true
      if (before.dirty && !mayLeak && leaks + leaksFixed > 0)
        throw fail(`the repair left leaks: ${problems(report, lines)}`)
      if (leaks > 0 && !mayLeak) throw fail(`leaks cannot be repaired: ${problems(report, lines)}`)
      const again =
        leaksFixed > 0 ? await node.check({ report: ({ message }) => lines.push(message) }) : report
      if (again.corruptions + again.checkErrors + (mayLeak ? 0 : again.leaks) > 0)
        throw fail(`repairing leaks damaged it: ${problems(again, lines)}`)
    }
    const shown = await readShown(node)
    const { stamps, snapshots } = shown
    await step('own rules', image, async () => this.#inspect?.(node, shown, image))
    await node.close()
    if (!areSameSnapshots(snapshots, before.shown.snapshots)) return 'its snapshots show something else'
    const sector = stamps.findIndex((stamp, i) => stamp !== expected[i])
    if (sector < 0 && stamps.length === expected.length) return undefined
    return `sector ${sector} shows ${stampText(stamps[sector]!)}, not ${stampText(expected[sector]!)}`
  }

  /** Whether a check finds leaks at most. */
  async #hasOnlyLeaks(image: string, disks: CrashDisks): Promise<boolean> {
    const node = await this.#images.open(image, disks, { checkMode: true, readOnly: true })
    const { corruptions, checkErrors } = await this.#checked(node, [], undefined)
    await node.close()
    return corruptions + checkErrors === 0
  }

  /** Whether the repair, not the writes after it, did the damage. */
  async #isDamagedByRepair(image: string, original: CrashDisks, before: Shown): Promise<boolean> {
    const node = await this.#images.open(image, forkDisks(original))
    const { stamps } = await readShown(node)
    await node.close()
    return stamps.some((stamp, i) => stamp !== before.stamps[i])
  }
}

/** What a reader finds. */
interface Found {
  readonly shown: Shown
  readonly dirty: boolean
  readonly leaks: number
}

const fingerprintOf = (disks: CrashDisks): number =>
  joinFingerprints([...disks.values()].map((disk) => disk.fingerprint()))

const problems = (report: CheckReport, lines: readonly string[]): string =>
  `${report.corruptions + report.corruptionsFixed} corruptions, ${report.leaks + report.leaksFixed} leaks, ${report.checkErrors} errors: ${lines.slice(0, 8).join('; ')}`

/** Writes to a few ranges, both written and unwritten ones, and updates `expected`. */
async function writeOn(image: string, node: BlockNode, expected: Uint32Array, seed: number): Promise<void> {
  if (expected.length === 0) return
  const random = createRandom(seed)
  for (let i = 0; i < 3; i++) {
    const first = random.int(0, expected.length)
    const count = Math.min(random.pick([1, 1, 8, 16]), expected.length - first)
    const old = await readStamps(node, first * SECTOR, count * SECTOR)
    const wrong = old.findIndex((stamp, n) => stamp !== expected[first + n])
    if (wrong >= 0) {
      const message = `sector ${first + wrong} shows ${stampText(old[wrong]!)}, not ${stampText(expected[first + wrong]!)}`
      throw new RuleBroken(i === 0 ? 'intact' : 'next write', image, message)
    }
    const stamp = LATER_STAMPS + i
    await node.write(first * SECTOR, stampedSectors(first * SECTOR, count * SECTOR, stamp))
    expected.fill(stamp, first, first + count)
    if (i === 1 && random.chance(0.5)) await node.flush()
  }
}

/** Runs a step; its failure breaks a rule. */
async function step<T>(rule: CrashRule, image: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw error instanceof RuleBroken ? error : new RuleBroken(rule, image, messageOf(error))
  }
}
