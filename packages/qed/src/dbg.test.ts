import { memoryFromBytes } from '@vmblock/block-core'
import { crashStates, createRandom, toBytes } from '@vmblock/block-core/testing'
import { it } from 'vitest'
import { createImage, filled, open } from './testing/images.ts'
it('x', async () => {
  const file = await createImage({ cluster_size: 4096, table_size: 1, size: 4 * 2 ** 20 })
    const first = await open(file)
    await first.node.writeZeroes(0, 4096)
    await first.node.close()
    console.log(file.size)
    await file.write(file.size, filled(0xee, 1000))
    console.log(file.size)
    const base = await toBytes(file)
    const { node, log } = await open(file)
    await Promise.all([node.write(0, filled(1, 4096)), node.write(4096, filled(2, 4096))])
    await node.flush()
    for (const e of log.entries) console.log(e.kind, e.offset, e.bytes, e.submitted, e.completed)
    for (const { disk, story } of crashStates(base, log, { random: createRandom(1), moments: 99, disksPerMoment: 64 })) {
      const after = await open(await memoryFromBytes(disk))
      const x= await toBytes(after.node)
      console.log(story, x[0], x[4096])
    }
})
