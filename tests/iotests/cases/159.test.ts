import { iotest } from '../src/harness.ts'

iotest(
  '159',
  'dd with blocks of any size',
  {
    formats: ['generic'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file'],
    timeout: 60_000,
  },
  async (t) => {
    const source = await t.create({ name: 'source', size: '1M' })
    await source.io('write -P 0xa 0 1M')
    for (const block of ['1999', '512', '1024', '1K', '64K', '1M']) {
      await t.section(`of ${block}`, async () => {
        const target = t.image(`of-${block}`)
        await target.img([
          'dd',
          '-f',
          t.format,
          '-O',
          t.format,
          `bs=${block}`,
          `if=${source.path}`,
          `of=${target.path}`,
        ])
        await target.isSound()
        await target.img(['compare', '-f', t.format, '-F', t.format, source.path, target.path])
      })
    }
  },
)
