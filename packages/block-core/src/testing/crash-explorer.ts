/**
 * The crash-state explorer: runs a workload on disks whose writes are logged, makes the states that a power
 * cut may leave, and judges each. It also cuts the power during the repairs that follow, and repeatedly: the
 * next run begins with a state that a crash left.
 */

import { messageOf } from '../base/errors.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import type { BlockNode } from '../contract/node.ts'
import { WriteLog } from '../drivers/write-log.ts'
import { CrashGuest } from './crash-guest.ts'
import { CrashImages } from './crash-images.ts'
import { CRASH_RULES, type CrashFinding, CrashJudge, RuleBroken } from './crash-judge.ts'
import { isSameShown, type Shown, Stamps } from './crash-shown.ts'
import { type CrashDisks, type CrashState, crashStates, forkDisks } from './crash-states.ts'
import type { CrashScene, CrashWorkload } from './crash-workload.ts'
import { createRandom, type Random } from './random.ts'

/** How a workload is explored. */
export interface ExploreOptions {
  /** Determines the requests, and which states are examined. */
  readonly seed: number
  /** Number of moments, and states per moment, in the first run; later runs examine fewer moments. */
  readonly moments?: number
  readonly disksPerMoment?: number
  /** Runs in a row: 1 means that no run follows a crash. Default 2. */
  readonly rounds?: number
  /** Fingerprints of the states counted before; new ones are added. */
  readonly seen?: Set<number>
  /** Most states to examine. Default: no limit. */
  readonly limit?: number
}

/** The result of an exploration. */
export interface Exploration {
  /** Number of distinct states that were judged and had not been counted before. */
  readonly states: number
  /** The first rule that was broken, with the story that led there and the disks it was found on. */
  readonly finding: (CrashFinding & { readonly story: string; readonly disks: CrashDisks }) | undefined
}

/** Explores a workload until a rule is broken, or all chosen states have been examined. */
export async function exploreCrashes(workload: CrashWorkload, options: ExploreOptions): Promise<Exploration> {
  const explorer = new Explorer(workload, options)
  try {
    await explorer.run()
    return { states: explorer.states, finding: undefined }
  } catch (error) {
    if (error instanceof LimitReached) return { states: explorer.states, finding: undefined }
    if (!(error instanceof RuleBroken)) throw error
    const { finding } = error
    return { states: explorer.states, finding: { ...finding, story: explorer.story, disks: explorer.disks } }
  }
}

/** A hunt examines more moments per run: it has one workload, and few seeds. */
const HUNTED_MOMENTS = 24

/** Explores a workload, seed after seed, until a rule is broken or `limit` states have been examined. */
export async function huntCrashes(workload: CrashWorkload, limit: number): Promise<Exploration> {
  const seen = new Set<number>()
  for (let seed = 1; seen.size < limit; seed++) {
    const { finding } = await exploreCrashes(workload, {
      seed,
      seen,
      moments: HUNTED_MOMENTS,
      limit: limit - seen.size,
    })
    if (finding) return { states: seen.size, finding }
  }
  return { states: seen.size, finding: undefined }
}

/** A finding as text. */
export const findingText = ({ rule, image, message, story }: NonNullable<Exploration['finding']>): string =>
  `power cut: '${rule}' does not hold for image '${image}': ${CRASH_RULES[rule]}.\n${message}\n${story}`

class LimitReached extends Error {}

/** States to examine in a repair, and the probability that a repair is interrupted. */
const IN_REPAIR = { moments: 6, disksPerMoment: 4, chance: 0.2 }
/** Number of runs that follow a run, and their share of its moments. */
const IN_A_ROW = { starts: 2, share: 0.3 }

/** A run that is being explored. */
interface Run {
  readonly log: WriteLog
  readonly guests: ReadonlyMap<string, CrashGuest>
  /** On new images, not on those that a crash left. */
  readonly isFirst: boolean
}

class Explorer {
  states = 0
  /** The state that is being examined, and its story. */
  disks: CrashDisks = new Map()
  story = ''
  readonly #workload: CrashWorkload
  readonly #options: Required<ExploreOptions>
  readonly #images: CrashImages
  readonly #judge: CrashJudge
  readonly #random: Random
  readonly #stamps = new Stamps()

  constructor(workload: CrashWorkload, options: ExploreOptions) {
    this.#workload = workload
    this.#options = {
      moments: 10,
      disksPerMoment: 16,
      rounds: 2,
      seen: new Set(),
      limit: Number.POSITIVE_INFINITY,
      ...options,
    }
    this.#images = new CrashImages(workload)
    this.#judge = new CrashJudge(this.#images, workload)
    this.#random = createRandom(seedOf(workload.name, options.seed))
  }

  async run(): Promise<void> {
    const disks = await this.#images.create()
    const { prepare } = this.#workload
    if (prepare) {
      const scene = await this.#open(disks, new WriteLog(), new Set(), undefined)
      await prepare.call(this.#workload, scene)
      await scene.node.close()
    }
    await this.#round(disks, 1, `seed ${this.#options.seed}`)
  }

  async #round(bases: CrashDisks, round: number, story: string): Promise<void> {
    const { meets = [], weight = 1 } = this.#workload
    const { moments, disksPerMoment, rounds } = this.#options
    this.story = `${story}, before anything is done`
    this.disks = bases
    const before = new Map<string, Shown>()
    for (const name of this.#images.names) before.set(name, (await this.#judge.look(name, bases)).shown)
    const steps = new Set<DebugEvent>()
    const run = await this.#play(bases, steps, before, round === 1)
    const missed = meets.filter((event) => !steps.has(event))
    if (round === 1 && missed.length > 0)
      throw new Error(`${this.#workload.name}, ${story}: the run never met ${missed.join(', ')}`)
    const share = weight * IN_A_ROW.share ** (round - 1)
    const plan = { random: this.#random, moments: Math.ceil(moments * share), disksPerMoment }
    const starts: { readonly disks: CrashDisks; readonly story: string }[] = []
    let count = 0
    for (const state of crashStates(bases, run.log, plan)) {
      this.story = `${story}, moment ${state.moment}: ${state.story()}`
      await this.#judgeState(state, run)
      // Reservoir sampling: a uniform choice among an unknown number of states.
      const slot = this.#random.int(0, ++count)
      if (slot < IN_A_ROW.starts) starts[slot] = { disks: state.disks, story: this.story }
    }
    if (round >= rounds) return
    for (const start of starts.filter(Boolean))
      await this.#round(start.disks, round + 1, `${start.story};\nthen`)
  }

  /** Runs the workload. Requests in flight at its end never complete. */
  async #play(
    bases: CrashDisks,
    steps: Set<DebugEvent>,
    before: ReadonlyMap<string, Shown>,
    isFirst: boolean,
  ): Promise<Run> {
    const log = new WriteLog()
    const scene = await this.#open(forkDisks(bases), log, steps, before)
    try {
      await this.#workload.run(scene)
    } catch (error) {
      // On new images the fault is in the workload, or in the driver without any crash.
      if (isFirst) throw error
      throw new RuleBroken('next write', this.#images.top, messageOf(error))
    }
    if (this.#random.chance(0.5)) await scene.guest.close()
    await scene.node.crash()
    return { log, guests: scene.guests, isFirst }
  }

  async #open(
    disks: CrashDisks,
    log: WriteLog,
    steps: Set<DebugEvent>,
    before: ReadonlyMap<string, Shown> | undefined,
  ): Promise<OpenScene> {
    const images = this.#images
    const { top, names } = images
    const backing = (name: string): string | undefined => this.#workload.images[name]?.backing
    const openTop = (options = {}): Promise<BlockNode> => images.open(top, disks, options, { log, steps })
    const nodesOf = (node: BlockNode): Map<string, BlockNode> => {
      const nodes = new Map([[top, node]])
      for (let at = node.backing?.node; at; at = at.backing?.node) nodes.set(images.nameOf(at), at)
      return nodes
    }
    const nodes = nodesOf(await openTop())
    const guests = new Map<string, CrashGuest>()
    for (const name of names) {
      const options = {
        before: before?.get(name),
        stamps: this.#stamps,
        below: guests.get(backing(name) ?? ''),
      }
      // An image that the chain does not have now is only looked at.
      guests.set(name, new CrashGuest(nodes.get(name) ?? nodes.get(top)!, log, options))
    }
    const guest = guests.get(top)!
    return {
      random: this.#random,
      guest,
      guests,
      guestOf: (name) => guests.get(name)!,
      get node() {
        return guest.node
      },
      async restart(options = {}) {
        await guest.close()
        for (const [name, node] of nodesOf(await openTop(options))) guests.get(name)!.node = node
      },
    }
  }

  async #judgeState(state: CrashState, { guests, isFirst }: Run): Promise<void> {
    this.disks = state.disks
    this.#count(state.fingerprint)
    for (const name of this.#images.names) {
      const { shown, raw, isRepairable } = await this.#judge.look(name, state.disks)
      // Data that was not flushed may differ between the two, so they are only compared if the run began with
      // new images.
      for (const each of raw && isFirst ? [shown, raw] : [shown]) {
        const wrong = guests.get(name)!.compare(each, state.moment)
        if (wrong === undefined) continue
        throw new RuleBroken('reads back', name, each === raw ? `as raw data, ${wrong}` : wrong)
      }
      if (isRepairable && this.#random.chance(IN_REPAIR.chance)) await this.#cutRepair(name, state)
    }
  }

  /** Cuts the power again while an image is opened, repaired and closed; the content must never change. */
  async #cutRepair(image: string, { disks }: CrashState): Promise<void> {
    const { story } = this
    const log = new WriteLog()
    try {
      const node = await this.#images.open(image, forkDisks(disks), {}, { log, steps: new Set() })
      if (node.can('check')) await node.check({ repair: 'all' })
      await node.close()
    } catch (error) {
      throw new RuleBroken('repair', image, messageOf(error))
    }
    const plan = { random: this.#random, ...IN_REPAIR }
    for (const state of crashStates(disks, log, plan)) {
      this.story = `${story};\nthen, in the repair of '${image}', moment ${state.moment}: ${state.story()}`
      this.disks = state.disks
      this.#count(state.fingerprint)
      for (const name of this.#images.names) {
        const { shown } = await this.#judge.look(name, disks)
        const { shown: later } = await this.#judge.look(name, state.disks)
        if (!isSameShown(shown, later))
          throw new RuleBroken('intact', name, 'it shows something else than before the repair')
      }
    }
    this.story = story
  }

  #count(fingerprint: number): void {
    const { seen, limit } = this.#options
    if (seen.has(fingerprint)) return
    if (this.states >= limit) throw new LimitReached()
    seen.add(fingerprint)
    this.states++
  }
}

/** Mixes in the workload's name, so that a seed gives different runs for different workloads. */
function seedOf(name: string, seed: number): number {
  let mixed = seed
  for (let i = 0; i < name.length; i++) mixed = Math.imul(mixed ^ name.charCodeAt(i), 0x0100_0193)
  return mixed >>> 0
}

interface OpenScene extends CrashScene {
  readonly guests: ReadonlyMap<string, CrashGuest>
}
