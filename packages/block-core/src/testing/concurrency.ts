/**
 * Runs overlapping requests of every kind on a disk whose answers come in any order, and judges the results
 * (history.ts). A driver only supplies a way to make a disk, and further operations of its nodes. A failing
 * run is shortened while it still fails, and reported with its seed.
 */

import { BlockError, isBlockError, messageOf } from '../base/errors.ts'
import { nextTurn } from '../base/event-loop.ts'
import type { BlockNode } from '../contract/node.ts'
import { type ReopenOptions, reopenNode } from '../open/reopen.ts'
import { type ConcurrentRequest, planRequests } from './concurrency-plan.ts'
import { ABSENT, type Call, type Effect, History } from './history.ts'
import type { DiscardResult } from './model.ts'
import { createRandom, type Random } from './random.ts'
import { INJECTED, Shaker } from './shaker.ts'
import { stamped, stampsOf } from './stamps.ts'

/** A disk to run on. */
export interface ConcurrencySubject {
  readonly node: BlockNode
  /** Opens the disk again once `node` is closed. Default: it is not opened again. */
  again?(): Promise<BlockNode>
  /** Examines the disk at the end, when no node is open: for example, runs a check. */
  verify?(): Promise<void>
}

/** Another operation of a node, run concurrently with the requests. */
export interface ConcurrencyVerb {
  readonly name: string
  /** Its number per 100 requests. */
  readonly share: number
  /** Runs the operation. Its effects on the disk, if any, are noted on `call` before it returns or throws. */
  run(node: BlockNode, random: Random, call: Call): Promise<void>
}

/** A run: its seed, sizes in bytes, and the abilities of the driver. */
export interface ConcurrencyRun {
  readonly seed: number
  readonly requests: number
  /** Makes a fresh disk, on files from `shaker.shake`; called again for each attempt to shorten a failure. */
  make(shaker: Shaker, random: Random): Promise<ConcurrencySubject>
  /** The unit of atomicity; at least 16. Default 512. */
  readonly sector?: number
  /** Size of a cluster. Default 4096. */
  readonly granularity?: number
  /** Longest request. Default: three times the granularity. */
  readonly longest?: number
  /** What whole clusters read as after a discard; `undefined`: as before, or zeroes. Default: no discards. */
  readonly discard?: DiscardResult
  /** Largest size for resizes. Default: none. */
  readonly resizeUpTo?: number | undefined
  readonly verbs?: readonly ConcurrencyVerb[]
  /** Probability with which a request to a file fails. Default 0. */
  readonly faults?: number
}

/** The access mode, as a register: 1 is read-only. */
const MODE = 'access mode'

/** Reopens the node in one of several ways. */
export const reopenVerb = (share: number, choices: readonly ReopenOptions[]): ConcurrencyVerb => ({
  name: 'reopen',
  share,
  async run(node, random, call) {
    const choice = random.pick(choices)
    const { readOnly } = choice
    const effect: Effect | undefined =
      readOnly === undefined ? undefined : { kind: 'write', value: readOnly ? 1 : 0 }
    try {
      await reopenNode(node, choice)
    } catch (error) {
      if (effect) call.on(MODE, { ...effect, optional: true })
      throw error
    }
    if (effect) call.on(MODE, effect)
  },
})

/** Checks the image, which must be consistent. `mayFail`: the check itself may meet injected faults. */
export const checkVerb = (share: number, mayFail = false): ConcurrencyVerb => ({
  name: 'check',
  share,
  async run(node) {
    const { corruptions, checkErrors } = await node.check()
    if (corruptions > 0 || (checkErrors > 0 && !mayFail))
      throw new Error(`the check finds ${corruptions}+${checkErrors} errors`)
  },
})

/** Runs a seed. @throws Error that shows the seed and the shortest sequence of requests that fails */
export async function runConcurrently(run: ConcurrencyRun): Promise<void> {
  const first = new Attempt(run)
  const requests = await first.plan()
  const failure = await first.run(requests)
  if (failure === undefined) return
  const [shortest, last] = await shorten(run, requests, failure)
  const lines = shortest.map((request) => `  ${JSON.stringify(request)}`).join('\n')
  throw new Error(`concurrent run failed, seed ${run.seed}: ${messageOf(last)}\nof\n${lines}`, {
    cause: last,
  })
}

/** Leaves out requests while the run still fails; halves first. */
async function shorten(
  run: ConcurrencyRun,
  requests: ConcurrentRequest[],
  failure: unknown,
): Promise<[ConcurrentRequest[], unknown]> {
  let shortest = requests
  let last = failure
  let attempts = 200
  for (
    let chunk = Math.ceil(requests.length / 2);
    chunk >= 1;
    chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2)
  ) {
    for (let start = 0; start < shortest.length && attempts > 0; attempts--) {
      const without = [...shortest.slice(0, start), ...shortest.slice(start + chunk)]
      const error = await new Attempt(run).run(without)
      if (error === undefined) start += chunk
      else [shortest, last] = [without, error]
    }
  }
  return [shortest, last]
}

/** After this many turns of the event loop without progress, requests are considered stuck. */
const PATIENCE = 20_000

/** Most requests in flight. */
const LANES = 8

class Attempt {
  readonly #run: ConcurrencyRun
  readonly #sector: number
  readonly #random: Random
  readonly #shaker: Shaker
  #subject: ConcurrencySubject | undefined
  #history = new History(0)
  /** The stamps of the sectors at the beginning. */
  #initial: readonly number[] = []
  /** Requests that have not ended. */
  readonly #open = new Set<string>()
  #ended = 0

  constructor(run: ConcurrencyRun) {
    this.#run = run
    this.#sector = run.sector ?? 512
    this.#random = createRandom(run.seed ^ 0x5eed)
    this.#shaker = new Shaker(this.#random)
  }

  /** The requests of the whole run. */
  async plan(): Promise<ConcurrentRequest[]> {
    const { granularity = 4096 } = this.#run
    const { node } = await this.#made()
    return planRequests(
      {
        seed: this.#run.seed,
        requests: this.#run.requests,
        sector: this.#sector,
        granularity,
        longest: this.#run.longest ?? 3 * granularity,
        discards: this.#run.discard !== undefined,
        resizeUpTo: this.#run.resizeUpTo,
        verbs: this.#run.verbs ?? [],
      },
      node.size,
    )
  }

  /** Makes the requests. @returns the failure; undefined if there was none */
  async run(requests: readonly ConcurrentRequest[]): Promise<unknown> {
    const subject = await this.#made()
    try {
      await this.#begin(subject.node)
      await this.#inLanes(subject.node, requests)
      this.#shaker.calm()
      await subject.node.flush()
      await this.#readAll(subject.node)
      await subject.node.close()
      if (subject.again) {
        const node = await subject.again()
        await this.#readAll(node)
        await node.close()
      }
      await subject.verify?.()
      const complaint = this.#history.judge((register) =>
        typeof register === 'number' ? (this.#initial[register] ?? ABSENT) : 0,
      )
      return complaint === undefined ? undefined : new Error(complaint)
    } catch (error) {
      this.#shaker.calm()
      await subject.node.crash()
      return error
    }
  }

  async #made(): Promise<ConcurrencySubject> {
    if (this.#subject) return this.#subject
    const making = this.#run.make(this.#shaker, createRandom(this.#run.seed))
    this.#subject = await this.#driven(making)
    return this.#subject
  }

  async #begin(node: BlockNode): Promise<void> {
    const reach = Math.max(node.size, this.#run.resizeUpTo ?? 0)
    this.#history = new History(reach / this.#sector)
    const before = new Uint8Array(node.size)
    await this.#driven(node.read(0, before))
    this.#initial = stampsOf(before, 0, this.#sector).map((stamp) => {
      if (stamp === undefined) throw new Error('the disk holds something that is not a stamp')
      return stamp
    })
    this.#shaker.fail(this.#run.faults ?? 0)
  }

  /** Runs several lanes; each makes the next request when its last one has ended. */
  async #inLanes(node: BlockNode, requests: readonly ConcurrentRequest[]): Promise<void> {
    const queue = requests.map((request, number) => ({ request, number }))
    let failure: unknown
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next && failure === undefined; next = queue.shift()) {
        await this.#shaker.pause()
        const what = `${next.number} ${JSON.stringify(next.request)}`
        this.#open.add(what)
        await this.#make(node, next.request, what).catch((error: unknown) => {
          failure ??= new Error(`${what}: ${messageOf(error)}`, { cause: error })
        })
        this.#open.delete(what)
        this.#ended++
      }
    }
    await this.#driven(Promise.all(Array.from({ length: this.#random.int(2, LANES + 1) }, lane)))
    if (failure !== undefined) throw failure
  }

  /** Releases held requests until `promise` has settled. @throws Error if requests are stuck */
  async #driven<T>(promise: Promise<T>): Promise<T> {
    let isOver = false
    const end = (): void => {
      isOver = true
    }
    promise.then(end, end)
    for (let idle = 0, ended = this.#ended; !isOver; idle++) {
      if (this.#shaker.release() || ended !== this.#ended) idle = 0
      ended = this.#ended
      if (idle > PATIENCE)
        throw new Error(`these wait for ever: ${[...this.#open].join(', ') || 'the opening'}`)
      await nextTurn()
    }
    return promise
  }

  async #make(node: BlockNode, request: ConcurrentRequest, what: string): Promise<void> {
    const call = this.#history.invoke(what)
    try {
      await this.#perform(node, request, call)
    } catch (error) {
      if (!this.#isAllowed(request, call, error)) throw error
    } finally {
      call.end()
    }
  }

  /** Performs a request, and notes its effects. */
  async #perform(node: BlockNode, request: ConcurrentRequest, call: Call): Promise<void> {
    switch (request.kind) {
      case 'flush':
        return node.flush()
      case 'verb':
        return this.#run
          .verbs!.find(({ name }) => name === request.name)!
          .run(node, createRandom(request.seed), call)
      case 'read': {
        // Not zeroes, so that a read that fills too few bytes is noticed.
        const into = new Uint8Array(request.length).fill(0xee)
        await node.read(request.offset, into)
        return this.#found(call, request.offset, into)
      }
      case 'status': {
        const { zero, bytes } = await node.blockStatus(request.offset, request.length)
        const length = Math.min(bytes - (bytes % this.#sector), request.length)
        if (zero) this.#found(call, request.offset, new Uint8Array(length))
        return
      }
      case 'write': {
        const { offset, length, stamp, fua } = request
        await node.write(offset, stamped(offset, length, stamp, this.#sector), { fua })
        break
      }
      case 'zero':
        await node.writeZeroes(request.offset, request.length, { mayUnmap: request.mayUnmap })
        break
      case 'discard':
        await node.discard(request.offset, request.length)
        return this.#discarded(node, request, call)
      case 'resize':
        await node.truncate(request.size)
        break
    }
    this.#changed(request, call, false)
  }

  #sectorsOf({ offset, length }: { readonly offset: number; readonly length: number }): [number, number] {
    return [offset / this.#sector, (offset + length) / this.#sector]
  }

  #found(call: Call, offset: number, bytes: Uint8Array): void {
    const first = offset / this.#sector
    for (const [index, value] of stampsOf(bytes, offset, this.#sector).entries())
      call.on(first + index, { kind: 'read', value })
  }

  /** Notes the changes, or possible changes (`optional`), of a request. */
  #changed(request: ConcurrentRequest, call: Call, optional: boolean): void {
    if (!optional) call.on(MODE, { kind: 'read', value: 0 })
    if (request.kind === 'resize') {
      const end = request.size / this.#sector
      call.onSectors((sector) => ({ kind: sector < end ? 'appear' : 'cut', optional }))
      // A shrink that failed may still have zeroed the sectors to be cut off.
      if (optional)
        for (let sector = end; sector < this.#history.sectors; sector++)
          call.on(sector, { kind: 'write', value: 0, optional })
    } else if (request.kind === 'write' || request.kind === 'zero' || request.kind === 'discard') {
      const effect: Effect = { kind: 'write', value: request.kind === 'write' ? request.stamp : 0, optional }
      const [first, end] = this.#sectorsOf(request)
      for (let sector = first; sector < end; sector++) call.on(sector, effect)
    }
  }

  /** Notes that whole clusters read as zeroes, if the driver promises it; a partial last cluster may, too. */
  #discarded(
    node: BlockNode,
    request: { readonly offset: number; readonly length: number },
    call: Call,
  ): void {
    call.on(MODE, { kind: 'read', value: 0 })
    const unit = node.limits.discardAlignment / this.#sector
    const [first, end] = this.#sectorsOf(request)
    const from = this.#run.discard === 'zeroes' ? Math.ceil(first / unit) * unit : first
    const to = this.#run.discard === 'zeroes' ? Math.floor(end / unit) * unit : first
    for (let sector = from; sector < end; sector++)
      call.on(sector, { kind: 'write', value: 0, optional: sector >= to })
  }

  /** Whether a request may fail in this way; notes what the failure reveals. */
  #isAllowed(request: ConcurrentRequest, call: Call, error: unknown): boolean {
    if (isBlockError(error, 'EPERM')) {
      call.on(MODE, { kind: 'read', value: 1 })
      return true
    }
    if ('offset' in request && error instanceof BlockError && error.message.includes('is outside ')) {
      call.on(this.#sectorsOf(request)[1] - 1, { kind: 'refused' })
      return true
    }
    // Not every driver can shrink.
    if (request.kind === 'resize' && isBlockError(error, 'ENOTSUP')) return true
    if (this.#run.faults === undefined || !isInjected(error)) return false
    this.#changed(request, call, true)
    return true
  }

  /** Notes all that the disk shows, and where it ends. */
  async #readAll(node: BlockNode): Promise<void> {
    const call = this.#history.invoke('the last read')
    const bytes = new Uint8Array(node.size)
    await node.read(0, bytes)
    this.#found(call, 0, bytes)
    for (let sector = node.size / this.#sector; sector < this.#history.sectors; sector++)
      call.on(sector, { kind: 'refused' })
    call.end()
  }
}

/** Whether an error comes from an injected fault, even if wrapped by the layers above. */
function isInjected(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause.message.includes(INJECTED)) return true
  return false
}
