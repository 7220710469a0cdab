/**
 * `pnpm bench loop`: for how long the library blocks the event loop, and how long small requests to another
 * file take meanwhile.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type BlockNode,
  CopyMap,
  copyNodes,
  DriverRegistry,
  formatImage,
  memory,
  nullCo,
  openNode,
} from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import { markdownTable } from 'markdown-table'
import type { Settings } from '../command-line.ts'
import { describeMachine, loadWarning, machineLines } from '../machine.ts'
import { openMedia } from '../media.ts'
import { figure } from '../report/figure.ts'
import { ownRuntime } from '../runtimes.ts'

const environment = {
  registry: new DriverRegistry([file, memory, nullCo, qcow2, raw]),
  host: nodeHost(),
}

/** A workload during which the event loop is watched. */
export interface LoopRow {
  readonly name: string
  /** Makes what the run needs. @param scale 1, or a fraction of it for a smoke run */
  prepare(path: string, scale: number): Promise<{ run(): Promise<unknown>; close(): Promise<unknown> }>
}

/** The measurements of one row, in milliseconds. */
export interface LoopResult {
  readonly name: string
  /** From the return of the call that started it to its end. */
  readonly wall: number
  /** The longest time between two turns of the event loop, which is how long a timer may wait. */
  readonly longest: number
  /** Durations of 4 KiB reads of another file, one after the other: the median. */
  readonly p50: number
  readonly p99: number
  readonly most: number
}

const CLUSTER = 65536
const block = new Uint8Array(CLUSTER).fill(3)

const opened = (options: object): Promise<BlockNode> => openNode(environment, { ...options })

async function hostFile(path: string, bytes: number, options: object = {}): Promise<BlockNode> {
  writeFileSync(path, new Uint8Array(bytes).fill(1))
  return opened({ driver: 'file', filename: path, ...options })
}

/** A storm: all requests are issued at once. */
const storm = (
  name: string,
  open: (path: string) => Promise<BlockNode>,
  request: (node: BlockNode, index: number) => Promise<unknown>,
  count = 10_000,
): LoopRow => ({
  name,
  async prepare(path, scale) {
    const node = await open(path)
    return {
      run: () => Promise.all(Array.from({ length: count * scale }, (_, index) => request(node, index))),
      close: () => node.close(),
    }
  },
})

const offsetOf = (index: number): number => (index % 1024) * CLUSTER
const onHost = (aio: string) => (path: string) => hostFile(path, 1024 * CLUSTER, { aio })
const inMemory = () => opened({ driver: 'memory', size: 1024 * CLUSTER })

/** An image in memory whose clusters are all allocated, and its file. */
async function fullImage(clusters: number, size = CLUSTER): Promise<BlockNode> {
  const below = await opened({ driver: 'memory' })
  await formatImage(qcow2, below, { size: clusters * size, clusterSize: size, preallocation: 'metadata' })
  return below
}

const emptyImage = async (): Promise<BlockNode> => {
  const below = await opened({ driver: 'memory' })
  await formatImage(qcow2, below, { size: 1024 * CLUSTER })
  return opened({ driver: 'qcow2', file: below })
}

/** The rows. */
export const LOOP_ROWS: readonly LoopRow[] = [
  storm('read-file-adaptive', onHost('adaptive'), (node, i) => node.read(offsetOf(i), block)),
  storm('read-file-threads', onHost('threads'), (node, i) => node.read(offsetOf(i), block)),
  storm('write-file-adaptive', onHost('adaptive'), (node, i) => node.write(offsetOf(i), block)),
  storm('write-file-threads', onHost('threads'), (node, i) => node.write(offsetOf(i), block)),
  storm('flush-file', onHost('adaptive'), (node, i) =>
    node.write(offsetOf(i), block.subarray(0, 4096), { fua: true }),
  ),
  storm('read-memory', inMemory, (node, i) => node.read(offsetOf(i), block)),
  storm('read-holes-qcow2', emptyImage, (node, i) => node.read(offsetOf(i), block.subarray(0, 4096))),
  storm('allocate-qcow2', emptyImage, (node, i) => node.write(offsetOf(i), block.subarray(0, 4096))),
  storm('zero-qcow2', emptyImage, (node, i) => node.writeZeroes(offsetOf(i), CLUSTER)),
  {
    name: 'check-memory',
    async prepare(_path, scale) {
      const below = await fullImage(2 ** 20 * scale, 512)
      const node = await opened({ driver: 'qcow2', file: below, readOnly: true })
      return { run: () => node.check(), close: () => node.close() }
    },
  },
  {
    name: 'convert-memory',
    async prepare(_path, scale) {
      const source = await inMemory()
      for (let i = 0; i < 1024 * scale; i++) await source.write(offsetOf(i), block)
      const target = await emptyImage()
      return {
        run: async () => copyNodes({ map: await CopyMap.of({ sources: [{ node: source }] }), target }),
        close: async () => {
          await target.close()
          await source.close()
        },
      }
    },
  },
]

const rank = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN

/** Watches one row. @param directory for its temporary files */
export async function watchLoop(row: LoopRow, directory: string, scale: number): Promise<LoopResult> {
  const path = join(directory, `loop-${process.pid}`)
  const other = `${path}-other`
  const small = await hostFile(other, CLUSTER)
  const { run, close } = await row.prepare(path, scale)
  let isOver = false
  let longest = 0
  const took: number[] = []
  const into = new Uint8Array(4096)
  const ask = async (): Promise<void> => {
    while (!isOver) {
      const start = performance.now()
      await small.read(0, into)
      took.push(performance.now() - start)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const done = run()
  // The time for issuing is the caller's.
  const start = performance.now()
  let last = start
  const watch = async (): Promise<void> => {
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve))
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
    }
  }
  const watching = Promise.all([ask(), watch()])
  try {
    await done
  } finally {
    isOver = true
  }
  const wall = performance.now() - start
  await watching
  await close()
  await small.close()
  for (const made of [path, other]) rmSync(made, { force: true })
  took.sort((a, b) => a - b)
  return { name: row.name, wall, longest, p50: rank(took, 0.5), p99: rank(took, 0.99), most: rank(took, 1) }
}

/** Results as a Markdown table. */
export const loopTable = (rows: readonly LoopResult[]): string =>
  markdownTable(
    [
      ['row', 'ms in all', 'longest between turns', '4 KiB beside it: median', '99%', 'longest'],
      ...rows.map(({ name, wall, longest, p50, p99, most }) => [
        name,
        ...[wall, longest, p50, p99, most].map(figure),
      ]),
    ],
    { align: ['l', 'r', 'r', 'r', 'r', 'r'] },
  )

/** The round of a row whose longest stretch is the median. */
const median = (results: readonly LoopResult[]): LoopResult =>
  [...results].sort((a, b) => a.longest - b.longest)[Math.floor(results.length / 2)]!

/** Watches the rows that the settings select, and prints the results. */
export async function runLoop({
  root,
  words,
  rounds,
  quick,
  list,
  directory,
  memoryDirectory,
}: Settings): Promise<void> {
  const rows = LOOP_ROWS.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
  if (list) {
    for (const { name } of rows) console.log(name)
    return
  }
  const machine = describeMachine(root, [], [ownRuntime()], undefined)
  const warning = loadWarning(machine)
  if (warning) process.stderr.write(`vmblock: ${warning}\n`)
  const { disk } = openMedia(directory, memoryDirectory, () => {})
  const results: LoopResult[] = []
  for (const row of rows) {
    const seen: LoopResult[] = []
    // The first round warms up the compiler.
    for (let round = 0; round <= rounds; round++) {
      const result = await watchLoop(row, disk.directory, quick ? 1 / 64 : 1)
      if (round > 0 || quick) seen.push(result)
    }
    results.push(median(seen))
  }
  console.log(`${machineLines(machine).join('\n')}\n\n${loopTable(results)}`)
}
