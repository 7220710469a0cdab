/**
 * No failure in the middle of a request leaves a lock held: after a request that was refused, delayed, given
 * up or cut off at any of its requests to the file, the next one proceeds.
 */
import {
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  isBlockError,
  memory,
  openMemory,
  openNode,
  type RawOptions,
  reopenNode,
} from '@vmblock/block-core'
import { defineDriver, forwardOps } from '@vmblock/block-core/driver'
import { optionsText, type TestedFormat, toBytes } from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'
import { beforeAll, describe, expect, test } from 'vitest'
import { takes, varietiesFor } from '../support/formats.ts'

/** Long runs try all mishaps at every request to the file; others only `fails`, the rest at one in four. */
const THOROUGH = process.env['HOSTILE_RUNS'] !== undefined

const KIB = 2 ** 10
const SIZE = 2 ** 20

/**
 * What happens to one request to the file:
 * - `fails`, instead of being done; or `fails late`, after it was done
 * - `crash`: the node crashes when the request arrives, or `crash late` when it is done
 * - `close`: the node is closed meanwhile
 * - `slow`: other requests arrive before it is done
 */
const MISHAPS = ['fails', 'fails late', 'crash', 'crash late', 'close', 'slow'] as const
type Mishap = (typeof MISHAPS)[number]

/** The mishap to come: the number of its request, counted from 1; 0: none. */
const fault = {
  at: 0,
  count: 0,
  met: false,
  mishap: 'fails' as Mishap,
  /** Called when the mishap occurs. */
  meet: (): Promise<void> => Promise.resolve(),
}

/** Passes a request on, or has it meet its mishap. */
async function pass<T>(request: () => Promise<T>): Promise<T> {
  if (++fault.count !== fault.at) return request()
  fault.met = true
  const { mishap, meet } = fault
  if (mishap === 'fails late' || mishap === 'crash late') {
    const result = await request()
    await meet()
    if (mishap === 'crash late') return result
  } else await meet()
  if (mishap === 'fails' || mishap === 'fails late') throw new BlockError('EIO', 'injected')
  return request()
}

/** A filter below the format, one of whose requests meets a mishap. */
const faulty = defineDriver({
  name: 'faulty',
  kind: 'filter',
  options: {},
  async open(context) {
    const plain = forwardOps(await context.requireChild('file'))
    return {
      ...plain,
      read: (offset, into) => pass(() => plain.read(offset, into)),
      write: (offset, from, flags) => pass(() => plain.write!(offset, from, flags)),
      writeZeroes: (offset, bytes, flags) => pass(() => plain.writeZeroes!(offset, bytes, flags)),
      discard: (offset, bytes) => pass(() => plain.discard!(offset, bytes)),
      truncate: (size, options) => pass(() => plain.truncate!(size, options)),
      flush: () => pass(() => plain.flush!()),
    }
  },
})

/** The same with a block alignment: parts of blocks are read, modified and written back under a lock. */
const faultyBlocks = defineDriver({
  ...faulty,
  name: 'faulty-blocks',
  async open(context) {
    const ops = await faulty.open(context)
    return { ...ops, limits: { requestAlignment: 4096 } }
  },
})

const environment = {
  registry: new DriverRegistry([...formats, memory, faulty, faultyBlocks]),
  host: denyHost,
}

interface Kind {
  readonly name: string
  readonly format: TestedFormat
  readonly options: RawOptions
  readonly backing?: boolean
  readonly blocks?: boolean
}

/** Each variety alone, on a file that takes only whole blocks, and over a backing file if its format takes one. */
const KINDS: readonly Kind[] = varietiesFor('mishaps').flatMap(({ format, variety: { create, small } }) => {
  const name = `${format.driver.name} ${optionsText(create)}`.trimEnd()
  const options = { ...create, ...small, size: SIZE }
  const isPlain = Object.keys(create).length === 0
  return [
    { name, format, options },
    ...(isPlain && small ? [] : [{ name: `${name} on blocks`, format, options, blocks: true }]),
    ...(isPlain && takes(format, 'backing_file')
      ? [{ name: `${name} overlay`, format, options, backing: true }]
      : []),
  ]
})

const fill = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** Awaits several concurrent requests: those that wait for a failing one must proceed. */
const together = async (requests: readonly Promise<unknown>[]): Promise<void> => {
  const failed = (await Promise.allSettled(requests)).find(({ status }) => status === 'rejected')
  if (failed) throw (failed as PromiseRejectedResult).reason
}

const OPERATIONS: Readonly<Record<string, (node: BlockNode) => Promise<unknown>>> = {
  'a read': (node) => together([node.read(1000, fill(0, 60_000)), node.read(300 * KIB, fill(0, 5000))]),
  'an allocating write': (node) => node.write(300 * KIB + 100, fill(1, 9000)),
  'a write over data': (node) => node.write(2000, fill(2, 9000)),
  'overlapping writes': (node) =>
    together([0, 1000, 5000].map((at) => node.write(600 * KIB + at, fill(3, 6000)))),
  'writes beside each other and a flush': (node) =>
    together([...[0, 4096, 8192].map((at) => node.write(500 * KIB + at, fill(4, 4096))), node.flush()]),
  'a durable write': (node) => node.write(700 * KIB, fill(5, 100), { fua: true }),
  zero: (node) => node.writeZeroes(1000, 20 * KIB, { mayUnmap: true }),
  discard: (node) => node.discard(0, 64 * KIB),
  status: async (node) => {
    for (let at = 0; at < SIZE; ) at += Math.max((await node.blockStatus(at, SIZE - at)).bytes, 1)
  },
  flush: async (node) => {
    await node.write(900 * KIB, fill(6, 100))
    await node.flush()
  },
  growing: (node) => node.truncate(3 * SIZE),
  shrinking: (node) => node.truncate(16 * KIB),
  'a write and a discard of the same': (node) =>
    together([node.write(0, fill(7, 8192)), node.discard(0, 8192), node.writeZeroes(4096, 8192)]),
  'VM state': async (node) => {
    await node.writeVmState(100, fill(8, 6000))
    await node.readVmState(0, fill(0, 7000))
  },
  'a check': async (node) => {
    await node.write(800 * KIB, fill(9, 100))
    await node.check()
    await node.check({ repair: 'all' })
  },
  'a reopening': async (node) => {
    await node.write(800 * KIB, fill(9, 100))
    await reopenNode(node, { readOnly: true })
    await reopenNode(node, { readOnly: false })
  },
  'new cache settings': async (node) => {
    await node.write(800 * KIB, fill(9, 100))
    await reopenNode(node, { options: { 'lazy-refcounts': true, l2CacheSize: 4096 } })
  },
  'another backing file': (node) => node.changeBackingFile('other', 'raw'),
  amending: (node) => node.amend({ lazy_refcounts: true, size: 2 * SIZE }),
  emptying: (node) => node.makeEmpty(),
}

/** Milliseconds after which a request is assumed to hang. */
const PATIENCE = 20_000

async function inTime<T>(what: string, request: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} waits for ever`)), PATIENCE)
  })
  try {
    return await Promise.race([request, late])
  } finally {
    clearTimeout(timer)
  }
}

async function makeImage({ format: { driver }, options }: Kind): Promise<Uint8Array> {
  const file = openMemory(new Uint8Array(0))
  await formatImage(driver, file, options)
  const node = await openNode(environment, { driver: driver.name, file })
  await node.write(0, fill(9, 40 * KIB))
  await node.close()
  return toBytes(file)
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 30; i++) await undefined
}

describe.each(KINDS)('$name', (kind) => {
  let image: Uint8Array
  beforeAll(async () => {
    image = await makeImage(kind)
  })

  const openImage = (file: BlockNode): Promise<BlockNode> =>
    openNode(environment, {
      driver: kind.format.driver.name,
      discard: 'unmap',
      file: { driver: kind.blocks ? 'faulty-blocks' : 'faulty', file },
      ...(takes(kind.format, 'backing_file') && {
        backing: kind.backing ? openMemory(fill(8, SIZE), { readOnly: true }) : null,
      }),
    })

  /**
   * Has an operation meet a mishap.
   *
   * @returns whether it did; undefined: the driver does not support the operation
   */
  const run = async (name: string, at: number, mishap: Mishap): Promise<boolean | undefined> => {
    const what = `${name}, ${mishap} at request ${at}`
    const file = openMemory(image)
    Object.assign(fault, { at: 0 })
    const node = await openImage(file)
    const others: Promise<unknown>[] = []
    const started = (request: Promise<unknown>): void => {
      // Not awaited here; the test checks later that it ends.
      others.push(request.catch((error: unknown) => error))
    }
    const meet = async (): Promise<void> => {
      fault.at = 0
      if (mishap.startsWith('crash')) await node.crash()
      else if (mishap === 'close') started(node.close())
      else if (mishap === 'slow') {
        started(node.write(600 * KIB + 500, fill(5, 9000)))
        started(node.write(1000, fill(5, 9000)))
        started(node.read(0, fill(0, 9000)))
        started(node.writeZeroes(4096, 12 * KIB))
        started(node.flush())
      }
      await turns()
    }
    Object.assign(fault, { at, count: 0, met: false, mishap, meet })
    const failed = await inTime(what, OPERATIONS[name]!(node)).then(
      () => undefined,
      (error: unknown) => error,
    )
    fault.at = 0
    for (const outcome of await inTime(`${what}: others`, Promise.all(others)))
      if (outcome instanceof Error) expect(outcome, what).toBeInstanceOf(BlockError)
    if (failed !== undefined) expect(failed, what).toBeInstanceOf(BlockError)
    // Not every format can shrink, or has a structure to check.
    if ((['ENOTSUP', 'EINVAL', 'EPERM'] as const).some((code) => isBlockError(failed, code))) return undefined
    const { met } = fault
    const isUsable = node.isOpen && !(name === 'emptying' && failed !== undefined)
    if (!isUsable) await inTime(`${what}: crash`, node.crash())
    await expectWorking(isUsable ? node : await inTime(`${what}: open`, openImage(file)), what)
    await checksOut(file, kind)
    return met
  }

  test.each(Object.keys(OPERATIONS))('%s, whatever happens at each request to the file', async (name) => {
    let mishaps = 0
    for (const [index, mishap] of MISHAPS.entries()) {
      const step = THOROUGH || mishap === 'fails' ? 1 : 4
      for (let at = step === 1 ? 1 : 1 + (index % step); ; at += step) {
        const met = await run(name, at, mishap)
        if (met === undefined) return
        if (!met) break
        mishaps++
      }
    }
    const asksNothing =
      name === 'status' ||
      (name === 'a reopening' && kind.format.checks === 'no') ||
      (name === 'discard' && kind.format.discards === 'nothing')
    if (!asksNothing) expect(mishaps).toBeGreaterThan(0)
  })

  test('a crash between any two steps ends it', async () => {
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      for (let at = 1; at < 40; at += THOROUGH ? 1 : 9) {
        const file = openMemory(image)
        fault.at = 0
        const node = await openImage(file)
        let left = at
        const running = inTime(name, operation(node)).catch((error: unknown) => error)
        while (left-- > 0) await undefined
        await inTime('a crash', node.crash())
        const outcome = await running
        if (outcome instanceof Error) expect(outcome, name).toBeInstanceOf(BlockError)
        const again = await openImage(file)
        await expectWorking(again, `${name}, a crash after ${at} turns`)
      }
    }
  })
})

/** Checks that every operation works, and ends. */
async function expectWorking(node: BlockNode, after: string): Promise<void> {
  const into = new Uint8Array(8192)
  // A reopen may have ended half-way.
  if (node.readOnly) await inTime('becoming writable', reopenNode(node, { readOnly: false }))
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['read', () => node.read(0, into)],
    ['write', () => node.write(600 * (node.size > 700 * KIB ? KIB : 1), fill(1, 6000))],
    ['write over data', () => node.write(0, fill(2, 6000))],
    ['zero', () => node.writeZeroes(0, 8192)],
    ['discard', () => node.discard(0, 8192)],
    ['flush', () => node.flush()],
    ['grow', () => node.truncate(4 * SIZE)],
    ['write there', () => node.write(4 * SIZE - 5000, fill(3, 5000))],
    ['shrink', () => node.truncate(SIZE)],
    ['status', () => node.blockStatus(0, SIZE)],
    ['close', () => node.close()],
  ]
  for (const [step, run] of steps) {
    try {
      await inTime(step, run())
    } catch (error) {
      if (isBlockError(error, 'ENOTSUP')) continue // not every format can shrink
      throw new Error(`${after}: then ${step} fails`, { cause: error })
    }
  }
}

async function checksOut(file: BlockNode, { format }: Kind): Promise<void> {
  if (format.checks === 'no') return
  const node = await openNode(environment, {
    driver: format.driver.name,
    file,
    readOnly: true,
    checkMode: true,
    ...(takes(format, 'backing_file') && { backing: null }),
  })
  expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
  await node.close()
}
