import { iotest } from '../src/harness.ts'

iotest(
  '021',
  'patterns that are no byte',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '1M' })
    for (const command of ['writev', 'read', 'write', 'readv', 'aio_read', 'aio_write']) {
      for (const pattern of ['300', '12m', '4k', 'route66', '-1']) {
        const result = await image.tryIo(`${command} -P ${pattern} 0 4096`)
        t.equal(result.lines[0], `${pattern} is not a valid pattern byte`, `${command} ${pattern}`)
        t.equal(result.reports, [])
        t.equal(result.code, 1)
      }
    }
    await image.io('read -P 0 0 1M')
  },
)
