import { iotest } from '../src/harness.ts'

iotest(
  '004',
  'requests at and beyond the end of the image are refused',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '16M' })
    await image.io(['write 15M 1M', 'read 15M 1M'])

    const refused = [
      ['write 15M 4M', 'write failed: Input/output error'],
      ['write 16M 4096', 'write failed: Input/output error'],
      ['write 28M 4096', 'write failed: Input/output error'],
      ['write -p 28M 4096', 'write failed: Input/output error'],
      ['writev 28M 4096', 'writev failed: Input/output error'],
      ['read 15M 4M', 'read failed: Input/output error'],
      ['read 16M 4096', 'read failed: Input/output error'],
      ['read 28M 4096', 'read failed: Input/output error'],
      ['read -p 28M 4096', 'read failed: Input/output error'],
      ['readv 28M 4096', 'readv failed: Input/output error'],
    ] as const
    for (const [command, message] of refused) {
      const result = await image.tryIo(command)
      t.equal(result.lines, [message], command)
      t.equal(result.reports, [], command)
      t.equal(result.code, 1, command)
    }
    t.equal(await image.size(), 16 * 1024 * 1024)
  },
)
