import { truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

const ONES = new Array<number>(8).fill(0xff)

iotest(
  '116',
  'headers of QED images that cannot be',
  { formats: ['qed'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const refused = async (name: string, reason: string, damage: (path: string) => Promise<void>) => {
      await t.section(name, async () => {
        const image = await t.create({ name: 'bad', size: '128M' })
        await damage(image.path)
        const result = await image.tryIo('read 0 128M')
        t.equal([result.code, t.tidy(result.text)], [1, `qemu-io: can't open device DIR/bad: ${reason}\n`])
      })
    }
    const poked = (at: number, bytes: ArrayLike<number>) => () => t.image('bad').poke(at, bytes)
    const table = 'QED table offset is invalid'
    await refused('a file that ends in the header', table, (path) => truncate(path, 512))
    await refused('another magic', 'Image not in QED format', poked(0, Buffer.from('QEDX')))
    await refused('clusters of 4 GiB', 'QED cluster size is invalid', poked(4, ONES.slice(0, 4)))
    await refused('tables of 2^32 clusters', 'QED table size is invalid', poked(8, ONES.slice(0, 4)))
    await refused('a header of 2^32 clusters', table, poked(12, ONES.slice(0, 4)))
    await refused('a table that begins at 2^64', table, poked(40, ONES))
    await refused('a disk of 2^64 bytes', 'QED image size is invalid', poked(48, ONES))
  },
)
