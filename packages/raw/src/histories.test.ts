/** Overlapping requests of every kind on raw disks, on a file that completes requests in any order. */
import {
  blkdebug,
  DriverRegistry,
  denyHost,
  memory,
  type OpenEnvironment,
  openMemory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { type ConcurrencyRun, reopenVerb, runConcurrently, stamped } from '@vmblock/block-core/testing'
import { test } from 'vitest'
import { raw } from './raw.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 2)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)

const KIB = 1024
const SIZE = 64 * KIB

const environment = { registry: new DriverRegistry([memory, blkdebug, raw]), host: denyHost }

interface Variety {
  readonly name: string
  readonly options?: RawOptions
  /** Requests to the file are multiples of this many bytes. */
  readonly blocks?: number
  readonly run?: Partial<ConcurrencyRun>
}

const VARIETIES: readonly Variety[] = [
  { name: 'a whole file', run: { resizeUpTo: SIZE + 8 * KIB } },
  { name: 'parts of sectors', run: { sector: 64 } },
  { name: 'a file of blocks', blocks: 4096 },
  { name: 'parts of sectors in a file of blocks', blocks: 4096, run: { sector: 16, longest: 6000 } },
  { name: 'a window', options: { offset: 4096, size: 32 * KIB } },
  { name: 'failing', blocks: 4096, run: { faults: 0.03 } },
]

const runOf = ({ options = {}, blocks = 1, run = {} }: Variety, seed: number): ConcurrencyRun => ({
  seed,
  requests: 150,
  discard: 'undefined',
  ...run,
  verbs: [
    reopenVerb(3, [
      { readOnly: true },
      { readOnly: false },
      { readOnly: false },
      { cache: { writeCache: false } },
      { cache: { writeCache: true } },
    ]),
  ],
  async make(shaker) {
    // Stamps count from the start of the file, and not of the window: a disk with an offset begins as zeroes.
    const content = options['offset'] ? new Uint8Array(SIZE) : stamped(0, SIZE, 1e6, run.sector ?? 512)
    const file = openMemory(content)
    const shaken = await shaker.shake(file)
    const below = blocks === 1 ? shaken : { driver: 'blkdebug', image: shaken, align: blocks }
    const openOn = (on: unknown) =>
      openNode(environment as OpenEnvironment, { driver: 'raw', discard: 'unmap', ...options, file: on })
    return { node: await openOn(below), again: () => openOn(file) }
  },
})

test.each(VARIETIES)('$name', async (variety) => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) await runConcurrently(runOf(variety, seed))
  console.log(`counted ${RUNS} histories: raw, ${variety.name}`)
})
