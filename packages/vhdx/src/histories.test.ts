/** Overlapping requests of every kind on VHDX images, on a disk that completes requests in any order. */
import { type BlockNode, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import { type ConcurrencyRun, checkVerb, reopenVerb, runConcurrently } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { createVhdxDriver } from './driver.ts'
import { createImage } from './testing/images.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 1)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)
const SIZE = 3 * 2 ** 20

interface Variety {
  readonly name: string
  readonly create?: Readonly<Record<string, unknown>>
  readonly run?: Partial<ConcurrencyRun>
}

const VARIETIES: readonly Variety[] = [
  { name: 'dynamic' },
  { name: 'fixed', create: { subformat: 'fixed' } },
  { name: 'parts of sectors', run: { sector: 64, longest: 6 * 1024 } },
  { name: 'failing', run: { faults: 0.02 } },
]

function runOf({ create = {}, run = {} }: Variety, seed: number): ConcurrencyRun {
  const driver = createVhdxDriver({ logLimit: 2 * 8192 })
  const environment = { registry: new DriverRegistry([memory, driver]), host: denyHost }
  const openOn = (file: BlockNode): Promise<BlockNode> =>
    openNode(environment, { driver: 'vhdx', file, discard: 'unmap' })
  return {
    seed,
    requests: 120,
    discard: 'undefined',
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
    ],
    async make(shaker) {
      const file = await createImage({ size: SIZE, ...create })
      return {
        node: await openOn(await shaker.shake(file)),
        again: () => openOn(file),
        async verify() {
          const node = await openNode(environment, { driver: 'vhdx', file, readOnly: true })
          expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
          await node.close()
        },
      }
    },
  }
}

test.each(VARIETIES)('$name', async (variety) => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) await runConcurrently(runOf(variety, seed))
  console.log(`counted ${RUNS} histories: VHDX, ${variety.name}`)
})
