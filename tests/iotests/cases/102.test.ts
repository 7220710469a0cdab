import { truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'
import { l2Entry } from '../src/qcow2-bytes.ts'

iotest(
  '102',
  'the map of an image whose file lost its end',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'extended_l2'],
  },
  async (t) => {
    const cluster = t.clusterSize
    const image = await t.create({ size: cluster })
    await image.io(`write -P 1 0 ${cluster}`)
    const { offset } = (await l2Entry(image.path, 0))!
    await image.img(['resize', '-f', 'raw', '--shrink', image.path, String(offset)])
    t.equal(await image.fileSize(), offset)
    const [entry, ...more] = await image.map()
    t.equal(
      [entry?.start, entry?.length, entry?.present, entry?.offset, more],
      [0, cluster, true, offset, []],
    )
    t.match((await image.io('map')).text, / allocated at offset 0 bytes/)

    await t.section('also when it was cut by someone else', async () => {
      const other = await t.create({ name: 'other', size: 4 * cluster })
      await other.io(`write -P 1 0 ${4 * cluster}`)
      await truncate(other.path, (await l2Entry(other.path, 2 * cluster))!.offset)
      const map = await other.map()
      t.equal(
        map.reduce((sum, { length }) => sum + length, 0),
        4 * cluster,
      )
      t.equal(
        map.every(({ present }) => present),
        true,
      )
      await other.io([`read -P 1 0 ${2 * cluster}`, `read -P 0 ${2 * cluster} ${2 * cluster}`])
    })
  },
)
