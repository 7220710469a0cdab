/**
 * Compares random operations with the simplest disk, an array of bytes. A failing run is shortened while it
 * still fails, and reported with its seed.
 */
import { messageOf } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import { toBytes } from './nodes.ts'
import { createRandom, type Random } from './random.ts'

/** One step of a run; offsets and lengths in bytes. Data is generated from `seed`. */
export type ModelOperation =
  | {
      readonly kind: 'write' | 'zeroes-data'
      readonly offset: number
      readonly length: number
      readonly seed: number
    }
  /** Adjacent writes in flight together; `length` is that of each. */
  | {
      readonly kind: 'parallel'
      readonly offset: number
      readonly length: number
      readonly count: number
      readonly seed: number
    }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly mayUnmap: boolean }
  | { readonly kind: 'discard' | 'read'; readonly offset: number; readonly length: number }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'reopen' }

/** The content of a discarded range. */
export type DiscardResult = 'zeroes' | 'undefined'

/** A run against the model. */
export interface ModelRun {
  readonly seed: number
  /** Number of operations. */
  readonly operations: number
  /** Opens a fresh node; called again for each attempt to shorten a failure. The model takes its size. */
  makeNode(): Promise<BlockNode>
  /** Bytes whose multiples are interesting offsets: a cluster, a page. Default 4096. */
  readonly granularity?: number
  /** Longest request in bytes. Default: three times the granularity. */
  readonly longest?: number
  /** Default: no discards. */
  readonly discard?: DiscardResult | undefined
  /** Largest size for truncations, in bytes. Default: no truncations. */
  readonly truncateUpTo?: number | undefined
  /** Closes the node and opens the same disk again. Default: no reopening. */
  reopen?(node: BlockNode): Promise<BlockNode>
  /** Examines the node after the last operation: a consistency check, for example. */
  verify?(node: BlockNode): Promise<void>
}

/** Generates the operations of a seed, on a disk of `size` bytes. */
export function randomOperations(run: Omit<ModelRun, 'makeNode'>, size: number): ModelOperation[] {
  const random = createRandom(run.seed)
  const kinds: ModelOperation['kind'][] = [
    'write',
    'write',
    'write',
    'read',
    'read',
    'zero',
    'parallel',
    'flush',
  ]
  kinds.push('zeroes-data')
  if (run.discard) kinds.push('discard')
  if (run.truncateUpTo !== undefined) kinds.push('truncate')
  if (run.reopen) kinds.push('reopen')
  const operations: ModelOperation[] = []
  let current = size
  for (let index = 0; index < run.operations; index++) {
    const operation = randomOperation(run, random, random.pick(kinds), current)
    if (operation.kind === 'truncate') current = operation.size
    operations.push(operation)
  }
  return operations
}

function randomOperation(
  run: Omit<ModelRun, 'makeNode'>,
  random: Random,
  kind: ModelOperation['kind'],
  size: number,
): ModelOperation {
  const { granularity = 4096, longest = 3 * granularity } = run
  const offset = Math.min(randomOffset(random, size, granularity), Math.max(size - 1, 0))
  const wanted = random.chance(0.3) ? granularity * random.int(1, 3) : random.int(1, longest + 1)
  const length = Math.min(wanted, longest, size - offset)
  switch (kind) {
    case 'write':
    case 'zeroes-data':
      return { kind, offset, length, seed: random.int(1, 2 ** 31) }
    case 'parallel': {
      const count = random.int(2, 6)
      return { kind, offset, count, length: Math.floor(length / count), seed: random.int(1, 2 ** 31) }
    }
    case 'zero':
      return { kind, offset, length, mayUnmap: random.chance(0.5) }
    case 'read':
    case 'discard':
      return { kind, offset, length }
    case 'truncate':
      return { kind, size: randomOffset(random, run.truncateUpTo ?? size, granularity) }
    case 'flush':
    case 'reopen':
      return { kind }
  }
}

/** An offset on the disk: often at or next to a multiple of the granularity, sometimes anywhere. */
function randomOffset(random: Random, size: number, granularity: number): number {
  const anywhere = random.int(0, size + 1)
  if (random.chance(0.4)) return anywhere
  const near = anywhere - (anywhere % granularity) + random.pick([0, 0, 1, -1, 512, granularity / 2])
  return Math.min(Math.max(near, 0), size)
}

/** Runs a seed's operations. @throws Error that shows the seed and the shortest sequence that fails */
export async function runModel(run: ModelRun): Promise<void> {
  const first = await run.makeNode()
  const operations = randomOperations(run, first.size)
  const failure = await attempt(run, operations, first)
  if (failure === undefined) return
  const shortest = await shorten(run, operations.slice(0, failure.at + 1))
  const last = (await attempt(run, shortest)) ?? failure
  const steps = shortest.map((operation) => `  ${JSON.stringify(operation)}`).join('\n')
  throw new Error(`model run failed, seed ${run.seed}: ${messageOf(last.error)}\n${steps}`, {
    cause: last.error,
  })
}

/** Leaves out operations while the run still fails; halves first. */
async function shorten(run: ModelRun, operations: ModelOperation[]): Promise<ModelOperation[]> {
  let shortest = operations
  let attempts = 300
  for (
    let chunk = Math.ceil(operations.length / 2);
    chunk >= 1;
    chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2)
  ) {
    for (let start = 0; start < shortest.length && attempts > 0; attempts--) {
      const without = [...shortest.slice(0, start), ...shortest.slice(start + chunk)]
      if (await attempt(run, without)) shortest = without
      else start += chunk
    }
  }
  return shortest
}

interface Failure {
  /** Index of the operation that failed. */
  readonly at: number
  readonly error: unknown
}

async function attempt(
  run: ModelRun,
  operations: readonly ModelOperation[],
  fresh?: BlockNode,
): Promise<Failure | undefined> {
  const subject = new Subject(run, fresh ?? (await run.makeNode()))
  let at = 0
  try {
    await subject.start()
    for (; at < operations.length; at++) await subject.apply(operations[at]!)
    await subject.finish()
    return undefined
  } catch (error) {
    await subject.node.crash()
    return { at: Math.min(at, operations.length - 1), error }
  }
}

/** A node and its expected content. */
class Subject {
  node: BlockNode
  readonly #run: ModelRun
  #expected: Uint8Array = new Uint8Array(0)

  constructor(run: ModelRun, node: BlockNode) {
    this.#run = run
    this.node = node
  }

  async start(): Promise<void> {
    this.#expected = await toBytes(this.node)
  }

  async finish(): Promise<void> {
    await this.#compare(0, this.#expected.length)
    await this.#run.verify?.(this.node)
    await this.node.close()
  }

  async apply(operation: ModelOperation): Promise<void> {
    switch (operation.kind) {
      case 'flush':
        return this.node.flush()
      case 'reopen':
        if (this.#run.reopen) this.node = await this.#run.reopen(this.node)
        return this.#compare(0, this.#expected.length)
      case 'truncate':
        return this.#truncate(operation.size)
    }
    // Shortened sequences may lack a truncation that made room.
    const count = operation.kind === 'parallel' ? operation.count : 1
    const { offset } = operation
    const length = Math.min(operation.length, Math.floor((this.#expected.length - offset) / count))
    if (length <= 0) return
    switch (operation.kind) {
      case 'read':
        return this.#compare(offset, length)
      case 'write':
        return this.#write(offset, createRandom(operation.seed).bytes(length))
      case 'zeroes-data':
        return this.#write(offset, new Uint8Array(length))
      case 'parallel': {
        const data = createRandom(operation.seed).bytes(length * count)
        const piece = (index: number): Uint8Array => data.subarray(index * length, (index + 1) * length)
        await Promise.all(Array.from({ length: count }, (_, i) => this.#write(offset + i * length, piece(i))))
        return this.#compare(offset, length * count)
      }
      case 'zero':
        await this.node.writeZeroes(offset, length, { mayUnmap: operation.mayUnmap })
        this.#expected.fill(0, offset, offset + length)
        return
      case 'discard':
        return this.#discard(offset, length)
    }
  }

  async #write(offset: number, data: Uint8Array): Promise<void> {
    await this.node.write(offset, data)
    this.#expected.set(data, offset)
  }

  async #discard(offset: number, length: number): Promise<void> {
    await this.node.discard(offset, length)
    if (this.#run.discard === 'zeroes') this.#expected.fill(0, offset, offset + length)
    // Whatever the range reads as now must not change any more.
    else await this.node.read(offset, this.#expected.subarray(offset, offset + length))
  }

  async #truncate(size: number): Promise<void> {
    await this.node.truncate(size)
    const old = this.#expected
    this.#expected = new Uint8Array(size)
    this.#expected.set(old.subarray(0, Math.min(size, old.length)))
  }

  async #compare(offset: number, length: number): Promise<void> {
    if (this.node.size !== this.#expected.length)
      throw new Error(`size is ${this.node.size}, not ${this.#expected.length}`)
    const actual = new Uint8Array(length)
    await this.node.read(offset, actual)
    const wrong = actual.findIndex((byte, index) => byte !== this.#expected[offset + index])
    if (wrong < 0) return
    const at = offset + wrong
    throw new Error(`byte at ${at} is ${actual[wrong]}, not ${this.#expected[at]}`)
  }
}
