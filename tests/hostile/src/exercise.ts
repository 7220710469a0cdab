/**
 * Everything that users do with an image, done to one that may be hostile. Each step must succeed or fail
 * with a readable {@link BlockError}, within bounds of time, requests and memory.
 * @module
 */
import {
  BlockError,
  type BlockNode,
  bitmapsOf,
  copyOnRead,
  DriverRegistry,
  memory,
  nullCo,
  type OpenEnvironment,
  openNode,
  passThrough,
  type RawOptions,
  snapshotsOf,
} from '@vmblock/block-core'
import { defineDriver, forwardOps } from '@vmblock/block-core/driver'
import { formats } from '@vmblock/formats'
import { type AllocationMeter, BYTES_ALLOWED } from './meter.ts'

/** Requests that one step may send to the file before it is taken for an endless loop. */
const REQUESTS_ALLOWED = 200_000
/** Milliseconds of processor time that one step may take on a slow machine, whatever else runs there. */
const TIME_ALLOWED = 20_000

/** Stops an endless step; drivers do not know this class, so they do not take it for a host error. */
class TooMany extends Error {}

let requests = 0
let allowed = REQUESTS_ALLOWED

/** A filter below the format that counts its requests. */
const counter = defineDriver({
  name: 'counter',
  kind: 'filter',
  async open(context) {
    const child = await context.requireChild('file')
    const plain = forwardOps(child)
    const count = (): void => {
      if (++requests > allowed) throw new TooMany(`more than ${allowed} requests`)
    }
    return {
      ...plain,
      async read(offset, into) {
        count()
        await plain.read(offset, into)
      },
      ...(plain.write && {
        async write(offset, from, flags) {
          count()
          await plain.write!(offset, from, flags)
        },
      }),
      async flush() {
        count()
        await plain.flush!()
      },
    }
  },
})

/** Names in images resolve to an empty disk: other tests cover what they may refer to. Every secret is the same one. */
export const environment: OpenEnvironment = {
  registry: new DriverRegistry([...formats, memory, nullCo, copyOnRead, passThrough, counter]),
  host: { resolve: async () => ({ driver: 'null-co', size: 2 ** 20, 'read-zeroes': true }) },
  secret: async () => new TextEncoder().encode('one'),
}

/** One thing that went wrong. */
export interface Finding {
  readonly step: string
  readonly what: string
  readonly error?: unknown
}

/** A step's requests to the image; undefined if the image can no longer be opened. */
type Step = (node: BlockNode) => Promise<unknown>

const PIECE = 2 ** 16
/** Offsets at both ends of a disk and in its middle that are read. */
const offsetsIn = (size: number): number[] => [
  ...new Set(
    [0, PIECE, 2 * PIECE, 4 * PIECE, Math.floor(size / 2), size - PIECE, size - 700].filter(
      (offset) => offset >= 0 && offset < size,
    ),
  ),
]

async function readAll(node: BlockNode): Promise<void> {
  const into = new Uint8Array(PIECE)
  let failure: unknown
  for (const offset of offsetsIn(node.size))
    await node
      .read(offset, into.subarray(0, Math.min(PIECE, node.size - offset)))
      .catch((error: unknown) => (failure ??= error))
  if (failure !== undefined) throw failure
}

async function map(node: BlockNode): Promise<void> {
  let at = 0
  for (let pieces = 0; at < node.size && pieces < 200; pieces++) {
    const { bytes } = await node.blockStatus(at, Math.min(node.size - at, 2 ** 40))
    if (bytes <= 0) throw new Error(`blockStatus at ${at} says ${bytes} bytes`)
    at += bytes
  }
}

/** The first and the last snapshot: between them there may be 65,536. */
async function someSnapshots(node: BlockNode): Promise<readonly { readonly id: string }[]> {
  const list = await node.listSnapshots()
  return list.length > 1 ? [list[0]!, list.at(-1)!] : list
}

async function readSnapshots(node: BlockNode): Promise<void> {
  let failure: unknown
  for (const { id } of await someSnapshots(node)) {
    try {
      const view = await snapshotsOf(node).open({ id })
      await readAll(view).catch((error: unknown) => (failure ??= error))
      await map(view).catch((error: unknown) => (failure ??= error))
      await view.close()
    } catch (error) {
      failure ??= error
    }
  }
  if (failure !== undefined) throw failure
}

/** Runs an operation on some snapshots, also if one fails. */
async function onSnapshots(node: BlockNode, run: (id: string) => Promise<void>): Promise<void> {
  let failure: unknown
  for (const { id } of await someSnapshots(node)) await run(id).catch((error: unknown) => (failure ??= error))
  if (failure !== undefined) throw failure
}

const writes: Readonly<Record<string, Step>> = {
  write: async (node) => {
    for (const offset of offsetsIn(node.size))
      await node.write(offset, new Uint8Array(Math.min(5000, node.size - offset)).fill(9))
  },
  'write side by side': async (node) => {
    const all = offsetsIn(node.size).map((offset) =>
      node.write(offset, new Uint8Array(Math.min(3000, node.size - offset)).fill(8)),
    )
    const failed = (await Promise.allSettled(all)).find((one) => one.status === 'rejected')
    if (failed) throw failed.reason
  },
  compress: async (node) => {
    const cluster = node.limits.compressedAlignment
    const whole = Math.min(node.size - (node.size % cluster), 3 * cluster)
    const bytes = whole > 0 ? whole : node.size
    // Only what is unallocated can be written compressed.
    await node.discard(0, bytes)
    await node.writeCompressed(0, new Uint8Array(bytes).fill(7))
    await node.write(0, new Uint8Array(Math.min(node.size, 512)).fill(6))
  },
  zero: (node) => node.writeZeroes(0, Math.min(node.size, 3 * PIECE + 100), { mayUnmap: true }),
  discard: (node) => node.discard(0, Math.min(node.size, 8 * PIECE)),
  flush: (node) => node.flush(),
  grow: (node) => node.truncate(node.size + 3 * PIECE),
  shrink: (node) => node.truncate(Math.floor(node.size / 2)),
  'change bitmaps': async (node) => {
    const bitmaps = bitmapsOf(node)
    await bitmaps.add('new', { granularity: 512 })
    for (const { name, inconsistent } of (await bitmaps.list()).slice(0, 8)) {
      if (inconsistent) continue
      await bitmaps.merge('new', name)
      await bitmaps.clear(name)
      await bitmaps.disable(name)
    }
  },
  'remove bitmaps': async (node) => {
    const bitmaps = bitmapsOf(node)
    for (const { name } of (await bitmaps.list()).slice(0, 4)) await bitmaps.remove(name)
  },
  'read again': readAll,
  'make snapshot': (node) => snapshotsOf(node).create('new'),
  'apply snapshots': (node) => onSnapshots(node, (id) => snapshotsOf(node).apply({ id })),
  'write over snapshots': (node) => node.write(0, new Uint8Array(Math.min(5000, node.size)).fill(6)),
  'delete snapshots': (node) => onSnapshots(node, (id) => snapshotsOf(node).delete({ id })),
  amend: (node) => node.amend({ lazy_refcounts: 'on' }),
  'change backing file': (node) => node.changeBackingFile('another', 'raw'),
  'make empty': (node) => node.makeEmpty(),
  'write to VM state': (node) => node.writeVmState(0, new Uint8Array(512)),
}

const looks: Readonly<Record<string, Step>> = {
  info: (node) => node.info(),
  'list snapshots': (node) => node.listSnapshots(),
  'read snapshots': readSnapshots,
  'read bitmaps': async (node) => {
    const bitmaps = bitmapsOf(node)
    for (const { name, inconsistent } of (await bitmaps.list()).slice(0, 8))
      if (!inconsistent) await bitmaps.dirtyRanges(name)
  },
  read: readAll,
  map,
  'read VM state': (node) => node.readVmState(0, new Uint8Array(512)),
  check: (node) => node.check(),
}

/** The passes over fresh copies of an image: open options, and steps. */
const PASSES: readonly (readonly [
  name: string,
  options: RawOptions,
  steps: Readonly<Record<string, Step>>,
])[] = [
  ['read-only', { readOnly: true }, looks],
  [
    'check mode',
    { readOnly: true, checkMode: true },
    { check: (node) => node.check(), info: (node) => node.info() },
  ],
  ['repair leaks', { checkMode: true }, { check: (node) => node.check({ repair: 'leaks' }) }],
  [
    'repair all',
    { checkMode: true },
    { check: (node) => node.check({ repair: 'all' }), 'check again': (node) => node.check() },
  ],
  ['read-write', { discard: 'unmap' }, { ...writes, 'check after': (node) => node.check() }],
]

/**
 * Runs every pass over copies that `makeFile` returns.
 *
 * @param only the name of one pass, when there is no time for all
 * @param larger the factor by which the image, and the cost of going through it, is larger than usual
 * @param key options that name the secret of an encrypted image
 * @returns what went wrong
 */
export async function exercise(
  driver: string | undefined,
  makeFile: () => Promise<BlockNode>,
  meter: AllocationMeter,
  only?: string,
  larger = 1,
  key: RawOptions = {},
): Promise<Finding[]> {
  allowed = REQUESTS_ALLOWED * larger
  const findings: Finding[] = []
  for (const [pass, options, steps] of PASSES) {
    if (only !== undefined && pass !== only) continue
    const file = await makeFile()
    const run = async <T>(step: string, body: () => Promise<T>): Promise<T | undefined> => {
      const found = await watched(`${pass}: ${step}`, body, meter, file)
      findings.push(...found.findings)
      return found.value
    }
    const tree = { ...options, ...key, ...(driver !== undefined && { driver }) }
    const node = await run('open', () =>
      openNode(environment, { ...tree, file: { driver: 'counter', file } }),
    )
    if (node) {
      for (const [step, body] of Object.entries(steps)) await run(step, () => body(node))
      await run('close', () => node.close())
    }
    await file.close().catch(() => undefined)
  }
  return findings
}

/** Runs one step under all bounds. */
export async function watched<T>(
  step: string,
  body: () => Promise<T>,
  meter: AllocationMeter,
  file?: BlockNode,
): Promise<{ readonly findings: Finding[]; readonly value?: T }> {
  const findings: Finding[] = []
  const found = (what: string, error?: unknown): void =>
    void findings.push({ step, what, ...(error !== undefined && { error }) })
  requests = 0
  // Excludes the contents of the image file, which is in memory here.
  const stored = async (): Promise<number> => (await file?.info())?.actualSize ?? 0
  const before = await stored()
  const start = process.cpuUsage()
  const used = await meter.measure(async () => {
    try {
      return { value: await body() }
    } catch (error) {
      const complaint = complaintAbout(error)
      if (complaint !== undefined) found(complaint, error)
      return {}
    }
  })
  const { user, system } = process.cpuUsage(start)
  const took = (user + system) / 1000
  if (took > TIME_ALLOWED) found(`took ${Math.round(took)} ms`)
  const peak = used.peak - Math.max(0, (await stored()) - before)
  if (peak > BYTES_ALLOWED) found(`took ${Math.round(peak / 2 ** 20)} MiB of memory`)
  if (used.largest > BYTES_ALLOWED) found(`asked for ${Math.round(used.largest / 2 ** 20)} MiB at once`)
  return { findings, ...used.result }
}

/** Returns what is wrong with an error as a readable message; undefined if nothing is. */
export function complaintAbout(error: unknown): string | undefined {
  if (!(error instanceof BlockError)) return `threw ${String(error)}`
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof TooMany) return cause.message
    if (['TypeError', 'RangeError', 'ReferenceError'].includes(cause.name) && !isHostError(cause))
      return `hides ${cause.name}: ${cause.message}`
  }
  const { message } = error
  if (message.trim() === '' || /undefined|NaN|\[object|Infinity|\bat .*\.ts:/.test(message))
    return `says '${message}'`
  return undefined
}

/** Whether an error is Node.js's own: those are of these classes too, but carry a code. */
const isHostError = (error: Error): boolean => typeof (error as { code?: unknown }).code === 'string'
