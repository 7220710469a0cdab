import { appendFile, truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '101',
  'a raw file whose length is no multiple of a sector',
  { formats: ['raw'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: 512 })
    await image.io('write -P 7 0 512')
    await truncate(image.path, 0)
    await appendFile(image.path, new Uint8Array(700).fill(9))
    t.equal((await image.io('length')).lines, ['1 KiB'])
    await image.io(['read -P 9 0 700', 'read -P 0 700 324', 'read -P 9 512 188'])
    t.equal((await image.tryIo('read 1024 1')).lines, ['read failed: Input/output error'])
    await image.io(['write -P 8 600 200', 'read -P 9 0 600', 'read -P 8 600 200', 'read -P 0 800 224'])
  },
)
