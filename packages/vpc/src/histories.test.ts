/** Overlapping requests of every kind on VHD images, on a disk that completes requests in any order. */
import { type BlockNode, commitNode, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import {
  type ConcurrencyRun,
  type ConcurrencyVerb,
  reopenVerb,
  runConcurrently,
  stamped,
} from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { vpc } from './driver.ts'
import { createImage } from './testing/images.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 2)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)

const KIB = 1024
const SIZE = 64 * KIB

interface Variety {
  readonly name: string
  readonly create: Readonly<Record<string, unknown>>
  readonly isOverlay?: true
  readonly run?: Partial<ConcurrencyRun>
}

const commit: ConcurrencyVerb = { name: 'commit', share: 2, run: (node) => commitNode(node) }

const DYNAMIC = { force_size: true, block_size: 4096 }
const DIFFERENCING = { subformat: 'differencing', block_size: 4096 }

const VARIETIES: readonly Variety[] = [
  { name: 'fixed', create: { force_size: true, subformat: 'fixed' } },
  { name: 'dynamic', create: DYNAMIC },
  { name: 'dynamic, parts of sectors', create: DYNAMIC, run: { sector: 64, longest: 6 * KIB } },
  { name: 'dynamic, failing', create: DYNAMIC, run: { faults: 0.02 } },
  { name: 'differencing', create: DIFFERENCING, isOverlay: true, run: { verbs: [commit] } },
  {
    name: 'differencing, parts of sectors',
    create: DIFFERENCING,
    isOverlay: true,
    run: { sector: 64, longest: 6 * KIB },
  },
  { name: 'differencing, failing', create: DIFFERENCING, isOverlay: true, run: { faults: 0.02 } },
]

function runOf({ create, isOverlay, run = {} }: Variety, seed: number): ConcurrencyRun {
  const sector = run.sector ?? 512
  const environment = { registry: new DriverRegistry([memory, vpc]), host: denyHost }
  const openOn = (file: BlockNode, below: BlockNode | undefined): Promise<BlockNode> =>
    openNode(environment, { driver: 'vpc', file, ...(below && { backing: below }), discard: 'unmap' })
  return {
    seed,
    requests: 150,
    discard: 'undefined',
    resizeUpTo: SIZE + 8 * KIB,
    ...run,
    verbs: [
      reopenVerb(3, [
        { readOnly: true },
        { readOnly: false },
        { readOnly: false },
        { cache: { writeCache: false } },
        { cache: { writeCache: true } },
      ]),
      ...(run.verbs ?? []),
    ],
    async make(shaker) {
      const file = await createImage({ ...create, size: SIZE })
      let base: BlockNode | undefined
      if (isOverlay) {
        base = await createImage({ ...DYNAMIC, size: SIZE })
        const filled = await openOn(base, undefined)
        await filled.write(0, stamped(0, SIZE, 1e6, sector))
        await filled.close()
      }
      const belowOn = async (disk: BlockNode | undefined): Promise<BlockNode | undefined> =>
        disk && openNode(environment, { driver: 'vpc', file: disk, readOnly: true })
      const below = await belowOn(base && (await shaker.shake(base)))
      return {
        node: await openOn(await shaker.shake(file), below),
        again: () => openOn(file, below),
        async verify() {
          // Nothing overlaps: a writer would refuse it.
          const backing = isOverlay && { backing: null }
          const node = await openNode(environment, { driver: 'vpc', file, ...backing })
          expect(node.size).toBeGreaterThanOrEqual(SIZE)
          await node.close()
        },
      }
    },
  }
}

test.each(VARIETIES)('$name', async (variety) => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) await runConcurrently(runOf(variety, seed))
  console.log(`counted ${RUNS} histories: VHD, ${variety.name}`)
})
