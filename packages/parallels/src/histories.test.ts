/** Overlapping requests of every kind on Parallels images, on a disk that completes requests in any order. */
import { type BlockNode, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import {
  type ConcurrencyRun,
  checkVerb,
  reopenVerb,
  runConcurrently,
  stamped,
} from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { parallels } from './driver.ts'
import { createImage } from './testing/images.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 2)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)
const KIB = 1024

const VARIETIES: readonly { name: string; overlay?: true; run?: Partial<ConcurrencyRun> }[] = [
  { name: 'alone' },
  { name: 'overlay', overlay: true },
  { name: 'parts of sectors', run: { sector: 64, longest: 6 * KIB } },
  { name: 'failing', run: { faults: 0.02 } },
]

test.each(VARIETIES)('$name', async ({ name, overlay, run = {} }) => {
  const size = 64 * KIB
  const environment = { registry: new DriverRegistry([memory, parallels]), host: denyHost }
  const openOn = (file: BlockNode, below?: BlockNode): Promise<BlockNode> =>
    openNode(environment, { driver: 'parallels', file, backing: below ?? null, discard: 'unmap' })
  for (let seed = SEED; seed < SEED + RUNS; seed++)
    await runConcurrently({
      seed,
      requests: 150,
      discard: 'undefined',
      verbs: [
        checkVerb(2, run.faults !== undefined),
        reopenVerb(3, [{ readOnly: true }, { readOnly: false }, { cache: { writeCache: false } }]),
      ],
      ...run,
      async make(shaker) {
        const file = await createImage({ size, cluster_size: 4096 })
        let below: BlockNode | undefined
        if (overlay) {
          below = await openNode(environment, { driver: 'memory', size })
          await below.write(0, stamped(0, size, 1e6, 512))
        }
        return {
          node: await openOn(await shaker.shake(file), below),
          again: () => openOn(file, below),
          async verify() {
            const node = await openNode(environment, { driver: 'parallels', file, readOnly: true })
            expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
            await node.close()
          },
        }
      },
    })
  console.log(`counted ${RUNS} histories: Parallels, ${name}`)
})
