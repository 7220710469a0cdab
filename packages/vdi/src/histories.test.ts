/** Overlapping requests of every kind on VDI images, on a disk that completes requests in any order. */
import { type BlockNode, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import { type ConcurrencyRun, checkVerb, reopenVerb, runConcurrently } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { vdi } from './driver.ts'
import { createImage } from './testing/images.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 2)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)
const KIB = 1024

const VARIETIES: readonly { name: string; fixed?: true; run?: Partial<ConcurrencyRun> }[] = [
  { name: 'dynamic' },
  { name: 'fixed', fixed: true },
  { name: 'parts of sectors', run: { sector: 64, longest: 6 * KIB } },
  { name: 'failing', run: { faults: 0.02 } },
]

test.each(VARIETIES)('$name', async ({ name, fixed = false, run = {} }) => {
  const size = 64 * KIB
  const environment = { registry: new DriverRegistry([memory, vdi]), host: denyHost }
  const openOn = (file: BlockNode): Promise<BlockNode> =>
    openNode(environment, { driver: 'vdi', file, discard: 'unmap' })
  for (let seed = SEED; seed < SEED + RUNS; seed++)
    await runConcurrently({
      seed,
      requests: 150,
      discard: 'undefined',
      resizeUpTo: size + 8 * KIB,
      verbs: [
        checkVerb(2, run.faults !== undefined),
        reopenVerb(3, [{ readOnly: true }, { readOnly: false }, { cache: { writeCache: false } }]),
      ],
      ...run,
      async make(shaker) {
        const file = await createImage({ size, static: fixed })
        return {
          node: await openOn(await shaker.shake(file)),
          again: () => openOn(file),
          async verify() {
            const node = await openNode(environment, { driver: 'vdi', file, readOnly: true })
            expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
            await node.close()
          },
        }
      },
    })
  console.log(`counted ${RUNS} histories: VDI, ${name}`)
})
