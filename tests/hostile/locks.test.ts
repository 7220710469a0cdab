/** No failure in the middle of a request leaves a lock held: whatever was refused, the next request goes through. */
import {
  BlockError,
  type BlockNode,
  DriverRegistry,
  defineDriver,
  denyHost,
  formatImage,
  isBlockError,
  memory,
  memoryFromBytes,
  openNode,
  passThrough,
  type RawOptions,
} from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'
import { beforeAll, describe, expect, test } from 'vitest'

/** Long runs try more ways to fail. */
const THOROUGH = process.env['HOSTILE_RUNS'] !== undefined

const KIB = 2 ** 10
const SIZE = 2 ** 20

/** What shall go wrong: the request of that number, counted from 1; 0: nothing. */
const fault = { at: 0, count: 0, met: false, late: false }

const arm = (at: number, late: boolean): void => void Object.assign(fault, { at, count: 0, met: false, late })

/** Lets a request pass, or fails it: before it is done, or after. */
async function pass<T>(request: () => Promise<T>): Promise<T> {
  const fails = ++fault.count === fault.at
  if (!fails) return request()
  fault.met = true
  if (fault.late) await request()
  else await undefined
  throw new BlockError('EIO', 'injected')
}

/** A filter below the format, of which one request fails. */
const faulty = defineDriver({
  name: 'faulty',
  kind: 'filter',
  async open(context) {
    const plain = passThrough(await context.requireChild('file'))
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

const environment = { registry: new DriverRegistry([raw, qcow2, qed, memory, faulty]), host: denyHost }

interface Kind {
  readonly name: string
  readonly driver: 'raw' | 'qcow2' | 'qed'
  readonly options: RawOptions
  readonly backing?: true
}

const KINDS: readonly Kind[] = [
  { name: 'raw', driver: 'raw', options: { size: SIZE } },
  { name: 'qcow2', driver: 'qcow2', options: { size: SIZE, cluster_size: 4 * KIB } },
  {
    name: 'lazy qcow2',
    driver: 'qcow2',
    options: { size: SIZE, cluster_size: 4 * KIB, lazy_refcounts: true },
  },
  {
    name: 'qcow2 with subclusters',
    driver: 'qcow2',
    options: { size: SIZE, cluster_size: 16 * KIB, extended_l2: true },
  },
  { name: 'qcow2 overlay', driver: 'qcow2', options: { size: SIZE, cluster_size: 4 * KIB }, backing: true },
  { name: 'qed', driver: 'qed', options: { size: SIZE, cluster_size: 4 * KIB, table_size: 1 } },
]

const fill = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** Several requests at once: those that wait for the one that fails must go on. */
const together = async (requests: readonly Promise<unknown>[]): Promise<void> => {
  const failed = (await Promise.allSettled(requests)).find(({ status }) => status === 'rejected')
  if (failed) throw (failed as PromiseRejectedResult).reason
}

const OPERATIONS: Readonly<Record<string, (node: BlockNode) => Promise<unknown>>> = {
  'an allocating write': (node) => node.write(300 * KIB + 100, fill(1, 9000)),
  'a write over data': (node) => node.write(2000, fill(2, 9000)),
  'overlapping writes': (node) =>
    together([0, 1000, 5000].map((at) => node.write(600 * KIB + at, fill(3, 6000)))),
  'writes beside each other and a flush': (node) =>
    together([...[0, 4096, 8192].map((at) => node.write(500 * KIB + at, fill(4, 4096))), node.flush()]),
  'a durable write': (node) => node.write(700 * KIB, fill(5, 100), { fua: true }),
  zero: (node) => node.writeZeroes(1000, 20 * KIB, { mayUnmap: true }),
  discard: (node) => node.discard(0, 64 * KIB),
  flush: async (node) => {
    await node.write(900 * KIB, fill(6, 100))
    await node.flush()
  },
  growing: (node) => node.truncate(3 * SIZE),
  shrinking: (node) => node.truncate(16 * KIB),
  'a write and a discard of the same': (node) =>
    together([node.write(0, fill(7, 8192)), node.discard(0, 8192), node.writeZeroes(4096, 8192)]),
}

/** Milliseconds after which a request is taken for one that waits for ever. */
const PATIENCE = 10_000

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

async function makeImage({ driver, options }: Kind): Promise<Uint8Array> {
  const file = memoryFromBytes(new Uint8Array(0))
  await formatImage(environment.registry.get(driver), file, options)
  const node = await openNode(environment, { driver, file })
  await node.write(0, fill(9, 40 * KIB))
  await node.close()
  return toBytes(file)
}

describe.each(KINDS)('$name', (kind) => {
  let image: Uint8Array
  beforeAll(async () => {
    image = await makeImage(kind)
  })

  const openImage = (file: BlockNode): Promise<BlockNode> =>
    openNode(environment, {
      driver: kind.driver,
      discard: 'unmap',
      file: { driver: 'faulty', file },
      ...(kind.backing && { backing: memoryFromBytes(fill(8, SIZE), { readOnly: true }) }),
    })

  test.each(Object.keys(OPERATIONS))('%s, failing at every request to the file', async (name) => {
    let faults = 0
    for (const late of THOROUGH ? [false, true] : [false]) {
      for (let at = 1; ; at++) {
        const file = memoryFromBytes(image)
        arm(0, false)
        const node = await openImage(file)
        arm(at, late)
        const failed = await inTime(`request ${at}`, OPERATIONS[name]!(node)).then(
          () => undefined,
          (error: unknown) => error,
        )
        const { met } = fault
        arm(0, false)
        if (failed !== undefined) expect(failed).toBeInstanceOf(BlockError)
        if (isBlockError(failed, 'ENOTSUP')) return // QED cannot shrink
        await goesOn(node, `${name}, request ${at} ${late ? 'done and ' : ''}refused`)
        await checksOut(file, kind)
        if (!met) break
        faults++
      }
    }
    // QED has no discard.
    if (kind.driver !== 'qed' || name !== 'discard') expect(faults).toBeGreaterThan(0)
  })

  test('a crash in the middle of anything ends it', async () => {
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      for (let at = 1; at < 40; at += THOROUGH ? 1 : 7) {
        const file = memoryFromBytes(image)
        arm(0, false)
        const node = await openImage(file)
        let turns = at
        const running = inTime(name, operation(node)).catch((error: unknown) => error)
        while (turns-- > 0) await undefined
        await inTime('a crash', node.crash())
        const outcome = await running
        if (outcome instanceof Error) expect(outcome, name).toBeInstanceOf(BlockError)
        const again = await openImage(file)
        await goesOn(again, `${name}, a crash after ${at} turns`)
      }
    }
  })
})

/** Everything works, and ends. */
async function goesOn(node: BlockNode, after: string): Promise<void> {
  const into = new Uint8Array(8192)
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
      if (isBlockError(error, 'ENOTSUP')) continue // QED cannot shrink
      throw new Error(`${after}: then ${step} fails`, { cause: error })
    }
  }
}

async function checksOut(file: BlockNode, { driver }: Kind): Promise<void> {
  if (driver === 'raw') return
  const node = await openNode(environment, {
    driver,
    file,
    'read-only': true,
    'check-mode': true,
    ...(driver === 'qcow2' && { backing: null }),
  })
  expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
  await node.close()
}
