/**
 * The process that measures one image, so that its memory can be measured. Its only argument is its order, as
 * JSON; prints figures, as JSON.
 * @module
 */
import { type BlockNode, DriverRegistry, type NodeOptions, openNode } from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { createRandom } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { summarize } from '../statistics.ts'
import { countingFilter, emptyTally, since } from './counting.ts'
import type { Measure, Offsets, Order } from './order.ts'

const order = JSON.parse(process.argv[2]!) as Order
const figures: Record<string, number> = {}

const layers = emptyTally()
const tally = emptyTally()
const counters = [countingFilter('count-layer', layers), countingFilter('count-host', tally)]
const environment = { registry: new DriverRegistry([file, qcow2, ...counters]), host: nodeHost() }

/** Node options for the chain from one file downward, with or without counting filters. */
function optionsOf(index: number, counted: boolean): NodeOptions {
  const filename = order.chain[index]!
  const stored: NodeOptions = { driver: 'file', filename }
  const below = index + 1 < order.chain.length ? optionsOf(index + 1, counted) : null
  const image: NodeOptions = {
    driver: 'qcow2',
    ...(index === 0 && order.options),
    file: counted ? { driver: 'count-host', file: stored } : stored,
    backing: below,
  }
  return counted ? { driver: 'count-layer', file: image } : image
}

const open = (counted: boolean, more: NodeOptions = {}): Promise<BlockNode> =>
  openNode(environment, { ...optionsOf(0, counted), ...more })

const now = (): number => performance.now()
const medianOf = (values: readonly number[]): number => summarize(values)?.median ?? Number.NaN

async function measureOpen({ name, times }: Extract<Measure, { kind: 'open' }>): Promise<void> {
  const elapsed: number[] = []
  for (let i = 0; i < times; i++) {
    const started = now()
    const node = await open(false, { readOnly: true })
    elapsed.push(now() - started)
    await node.close()
  }
  // The minimum: opening waits for threads, and on a busy machine the other samples measure only that.
  figures[`${name} ms`] = Math.min(...elapsed)
  const before = { ...tally }
  const node = await open(true, { readOnly: true })
  const { reads, readBytes } = since(before, tally)
  await node.close()
  figures[`${name} reads`] = reads
  figures[`${name} bytes`] = readBytes
}

/** The offsets in one shuffled order. */
function shuffled({ count, stride, first = 0 }: Offsets): number[] {
  const random = createRandom(7)
  const offsets = Array.from({ length: count }, (_, i) => first + i * stride)
  for (let i = count - 1; i > 0; i--) {
    const j = random.int(0, i + 1)
    ;[offsets[i], offsets[j]] = [offsets[j]!, offsets[i]!]
  }
  return offsets
}

type Requests = Extract<Measure, { kind: 'read' | 'write' }>

/**
 * One request is too short for a clock: groups of requests are timed, repeated for at least `ms`
 * milliseconds.
 */
const TOGETHER = { requests: 8, ms: 0.2 }

async function measureRequests(measure: Requests): Promise<void> {
  const { kind, name, bytes, at, requests, once = false } = measure
  const offsets = shuffled(at)
  const buffer = new Uint8Array(bytes).fill(3)
  const run = (node: BlockNode, offset: number): Promise<void> =>
    kind === 'read' ? node.read(offset, buffer) : node.write(offset, buffer)
  const pass = async (node: BlockNode): Promise<void> => {
    for (const offset of offsets) await run(node, offset)
  }

  if (!once) await countRequests(measure, offsets.length, pass)
  const node = await open(false)
  // Twice, so that the tables are in memory and the code is compiled.
  if (!once) for (let warm = 0; warm < 2; warm++) await pass(node)
  const elapsed: number[] = []
  const wanted = once ? offsets.length : requests
  for (let done = 0; done < wanted; ) {
    const started = now()
    const first = done
    let time = 0
    while (time < TOGETHER.ms && !(once && done >= offsets.length)) {
      const end = once ? Math.min(done + TOGETHER.requests, offsets.length) : done + TOGETHER.requests
      for (; done < end; done++) await run(node, offsets[done % offsets.length]!)
      time = now() - started
    }
    elapsed.push(time / (done - first))
  }
  await node.close()
  figures[`${name} us`] = medianOf(elapsed) * 1000
}

/** Counts the effects of requests, in separate passes: counting takes time. */
async function countRequests(
  { kind, name }: Requests,
  count: number,
  pass: (node: BlockNode) => Promise<void>,
): Promise<void> {
  const node = await open(true)
  const start = { ...tally }
  await pass(node)
  const first = since(start, tally)
  const before = { host: { ...tally }, layers: { ...layers } }
  await pass(node)
  const below = since(before.host, tally)
  const asked = since(before.layers, layers)
  await node.close()
  if (kind === 'read') figures[`${name} first reads`] = first.reads / count
  figures[`${name} layers`] = (asked.reads + asked.writes) / count
  figures[`${name} reads`] = below.reads / count
  figures[`${name} writes`] = below.writes / count
}

async function measureCheck({ name }: Extract<Measure, { kind: 'check' }>): Promise<void> {
  const mode: NodeOptions = { readOnly: true, checkMode: true }
  const node = await openNode(environment, { ...optionsOf(0, false), ...mode })
  const started = now()
  const report = await node.check({})
  figures[`${name} ms`] = now() - started
  await node.close()
  if (report.corruptions + report.checkErrors > 0) throw new Error('the image is corrupt')
  // A filter has no structure to check, so only the files count.
  const image = optionsOf(0, true)['file'] as NodeOptions
  const counted = await openNode(environment, { ...image, ...mode })
  const before = { ...tally }
  await counted.check({})
  const { reads, readBytes } = since(before, tally)
  await counted.close()
  figures[`${name} reads`] = reads
  figures[`${name} bytes`] = readBytes
}

const MIB = 2 ** 20

/**
 * MiB of live objects and buffers. Freed memory is returned with a delay, so this waits until the figure
 * stops falling.
 */
async function usedMemory(): Promise<number> {
  for (let least = Number.POSITIVE_INFINITY; ; ) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 20))
    const { heapUsed, external } = process.memoryUsage()
    if (heapUsed + external > least * 0.999) return least / MIB
    least = heapUsed + external
  }
}

/** MiB that stay in memory while the image is open, after reads at all offsets of a measure. */
async function memoryOfImage(last: Requests | undefined): Promise<number> {
  const before = await usedMemory()
  const buffer = new Uint8Array(last?.bytes ?? 4096)
  const node = await open(false)
  if (last) for (const offset of shuffled(last.at)) await node.read(offset, buffer)
  const after = await usedMemory()
  await node.close()
  return Math.max(after - before, 0)
}

async function measureMemory(name: string, last: Requests | undefined): Promise<void> {
  // What the first run leaves for good, such as compiled code, does not belong to the image.
  await memoryOfImage(last)
  figures[`${name} heap`] = await memoryOfImage(last)
  figures[`${name} peak`] = process.resourceUsage().maxRSS / 1024
}

let last: Requests | undefined
for (const measure of order.measures) {
  if (measure.kind === 'open') await measureOpen(measure)
  else if (measure.kind === 'check') await measureCheck(measure)
  else if (measure.kind === 'memory') await measureMemory(measure.name, last)
  else await measureRequests(measure)
  if (measure.kind === 'read') last = measure
}
process.stdout.write(JSON.stringify(figures))
