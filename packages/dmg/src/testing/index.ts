/** What the tests of all formats have to know about dmg. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { dmg } from '../driver.ts'
import { dmgImage } from './images.ts'
import { bytesOf, contentOf, PACKED } from './packed.ts'

export { type DmgChunk, type DmgWishes, dmgImage } from './images.ts'

/** Images are neither made nor written: none of the suites runs on them. */
export const format: TestedFormat = {
  driver: dmg,
  inQemu: true,
  clusterSize: 262144,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [],
  samples: () => {
    const chunks = PACKED.map((packed, i) => ({
      type: packed.type,
      sector: 16 * i,
      sectors: contentOf(packed.content).length / 512,
      data: bytesOf(packed),
    }))
    const raw = { type: 1, sector: 0, sectors: 2, data: contentOf('noise') }
    return [
      ...chunks.map((chunk, i) => ({
        name: PACKED[i]!.name,
        bytes: dmgImage({ tables: [{ chunks: [{ ...chunk, sector: 0 }] }], sectors: chunk.sectors }),
      })),
      { name: 'all', bytes: dmgImage({ tables: [{ chunks }], sectors: 16 * chunks.length }) },
      {
        name: 'a resource fork',
        bytes: dmgImage({ tables: [{ chunks: [raw] }], sectors: 2, resourceFork: true }),
      },
    ]
  },
}
