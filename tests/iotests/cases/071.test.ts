import { iotest } from '../src/harness.ts'

iotest(
  '071',
  'blkverify and blkdebug, from a file name and from options',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    const raw = await t.create({ name: 'base', format: 'raw', size: '64M', plain: true })
    const image = await t.create({ size: '64M' })
    const { path } = image
    const below = `driver=raw,file.driver=blkverify,file.raw.filename=${raw.path}`
    const ways = {
      'a file name': `open -o ${below} ${path}`,
      options: `open -o ${below},file.test.driver=${t.format},file.test.file.filename=${path}`,
    }
    for (const [way, open] of Object.entries(ways))
      await t.section(way, async () => {
        const alike = await t.io([
          '-c',
          open,
          '-c',
          'read 0 512',
          '-c',
          'write -P 42 0x38000 512',
          '-c',
          'read -P 42 0x38000 512',
        ])
        t.equal(alike.code, 0)
        await image.io('write -P 42 0 512')
        const { code, text } = await t.io(['-c', open, '-c', 'read -P 42 0 512', '-c', 'length'])
        t.equal([code, text], [1, 'blkverify: read offset=0 bytes=512 contents mismatch at offset 0\n'])
        await image.io('write -P 0 0 512')
      })
    const rule = 'file.driver=blkdebug,file.inject-error.event=l2_load'
    for (const open of [
      `open -o ${rule} ${path}`,
      `open -o driver=${t.format},${rule},file.image.filename=${path}`,
    ]) {
      const { code, text } = await t.io(['-c', open, '-c', 'read -P 42 0x38000 512'])
      t.equal([code, text], [1, 'read failed: Input/output error\n'])
    }
  },
)
