import { truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

const SIZE = 1024 * 1024 - 1

iotest(
  '253',
  'an unaligned raw file without the host cache',
  { formats: ['raw'], groups: ['rw', 'auto', 'quick'], caches: ['none', 'directsync'] },
  async (t) => {
    const image = await t.create({ size: SIZE })
    const options = `driver=raw,file.driver=file,file.filename=${image.path},cache.direct=on`
    const covered = async () => {
      const run = await t.img(['map', '--output=json', '--image-opts', options])
      t.equal(run.code, 0)
      const entries = JSON.parse(run.text) as { start: number; length: number }[]
      const end = entries.at(-1)
      return end === undefined ? 0 : end.start + end.length
    }
    t.equal(await covered(), SIZE + 1)
    await truncate(image.path, SIZE)
    t.equal(await covered(), SIZE + 1, 'up to the whole sector')
    const offset = 1024 * 1024 - 64 * 1024
    await image.io(`write -P 0x4d ${offset} ${SIZE - offset}`)
    t.equal(await covered(), SIZE + 1)
    await image.io([
      `read -P 0x4d ${offset} ${SIZE - offset}`,
      `read -P 0 0 ${offset}`,
      `read -P 0 ${SIZE} 1`,
    ])
    await truncate(image.path, SIZE)
    t.equal(await covered(), SIZE + 1)
    await image.io([`read -P 0x4d ${offset} ${SIZE - offset}`, `read -P 0 ${SIZE} 1`])
  },
)
