/** Overlapping requests of every kind on QED images, on a disk that completes requests in any order. */
import { type BlockNode, commitNode, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import {
  type ConcurrencyRun,
  type ConcurrencyVerb,
  checkVerb,
  reopenVerb,
  runConcurrently,
  stamped,
} from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { createQedDriver } from './driver.ts'
import { createImage, TestClock } from './testing/images.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 2)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)

const KIB = 1024

interface Variety {
  readonly name: string
  readonly overlay?: true
  readonly run?: Partial<ConcurrencyRun>
}

const commit: ConcurrencyVerb = { name: 'commit', share: 2, run: (node) => commitNode(node) }

const VARIETIES: readonly Variety[] = [
  { name: 'alone' },
  { name: 'overlay', overlay: true, run: { verbs: [commit] } },
  { name: 'parts of sectors', run: { sector: 64, longest: 6 * KIB } },
  { name: 'failing', run: { faults: 0.02 } },
  { name: 'overlay, failing', overlay: true, run: { faults: 0.02 } },
]

function runOf({ overlay, run = {} }: Variety, seed: number): ConcurrencyRun {
  const size = 64 * KIB
  const sector = run.sector ?? 512
  const clock = new TestClock()
  const environment = {
    registry: new DriverRegistry([memory, createQedDriver({ clock })]),
    host: denyHost,
  }
  const openOn = (file: BlockNode, below: BlockNode | undefined): Promise<BlockNode> =>
    openNode(environment, { driver: 'qed', file, backing: below ?? null, discard: 'unmap' })
  // No allocation for five seconds.
  const idle: ConcurrencyVerb = { name: 'idle', share: 2, run: async () => clock.elapse() }
  return {
    seed,
    requests: 150,
    discard: 'undefined',
    // Only growing. Growing an overlay must hide the backing file's data.
    resizeUpTo: size + 8 * KIB,
    ...run,
    verbs: [
      checkVerb(2, run.faults !== undefined),
      reopenVerb(3, [
        { readOnly: true },
        { readOnly: false },
        { readOnly: false },
        { cache: { writeCache: false } },
        { cache: { writeCache: true } },
      ]),
      idle,
      ...(run.verbs ?? []),
    ],
    async make(shaker) {
      const file = await createImage({ size, cluster_size: 4096, table_size: 1 })
      let below: BlockNode | undefined
      if (overlay) {
        const base = await createImage({ size, cluster_size: 4096, table_size: 1 })
        const filled = await openOn(base, undefined)
        await filled.write(0, stamped(0, size, 1e6, sector))
        await filled.close()
        below = await openNode(environment, {
          driver: 'qed',
          file: await shaker.shake(base),
          readOnly: true,
        })
      }
      return {
        node: await openOn(await shaker.shake(file), below),
        again: () => openOn(file, below),
        async verify() {
          const node = await openNode(environment, { driver: 'qed', file, backing: null, readOnly: true })
          expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
          expect((await node.info()).dirty).toBe(false)
          await node.close()
        },
      }
    },
  }
}

test.each(VARIETIES)('$name', async (variety) => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) await runConcurrently(runOf(variety, seed))
  console.log(`counted ${RUNS} histories: QED, ${variety.name}`)
})
