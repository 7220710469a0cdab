import { iotest } from '../src/harness.ts'

iotest(
  '289',
  'a write to the data file that fails frees nothing',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const image = await t.create({ size: '64k', options: { data_file: '$IMG.data' } })
    const options = {
      driver: 'qcow2',
      file: { driver: 'file', filename: image.path },
      'data-file': {
        driver: 'raw',
        file: {
          driver: 'blkdebug',
          'inject-error': [{ event: 'write_aio', errno: 5, once: true }],
          image: { driver: 'file', filename: `${image.path}.data` },
        },
      },
    }
    const result = await image.tryIo([`open json:${JSON.stringify(options)}`, 'write 0 64k'], {
      noFile: true,
    })
    t.equal([result.lines, result.code], [['write failed: Input/output error'], 1])
    await image.isSound()
    await image.io(['write -P 4 0 64k', 'read -P 4 0 64k'])
    await image.isSound()
  },
)
