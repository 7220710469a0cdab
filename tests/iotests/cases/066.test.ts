import { iotest } from '../src/harness.ts'

const SIZE = 64 * 1024 * 1024 + 512

iotest(
  '066',
  'discards and preallocated zero clusters',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'refcount_bits=1', 'data_file', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    await t.section('a discard of everything leaves nothing mapped', async () => {
      const image = await t.create({ name: 'a.qcow2', size: SIZE })
      await image.io([
        'write 0 256k',
        'write -z 0 256k',
        'write 64M 512',
        `discard 0 ${SIZE}`,
        `read -P 0 0 ${SIZE}`,
      ])
      await image.isSound()
      const run = await t.img(['map', '-f', 'qcow2', image.path])
      t.equal(run.text, 'Offset          Length          Mapped to       File\n')
    })

    await t.section('a write into preallocated zeroes uses the clusters that are there', async () => {
      const image = await t.create({ name: 'b.qcow2', size: SIZE })
      await image.io('write -P 42 1M 256k')
      const before = await image.map()
      await image.io('write -z 1M 256k')
      await image.io('write -P 23 1056k 192k')
      await image.isSound()
      await image.io(['read -P 0 1M 32k', 'read -P 23 1056k 192k', 'read -P 0 1248k 32k'])
      t.equal(await image.map(), before)
    })

    await t.section('a write over data and preallocated zeroes is one request to the file', async () => {
      const image = await t.create({ name: 'c.qcow2', size: '192k' })
      await image.io('write -P 42 0 192k')
      const before = await image.map()
      await image.io('write -z 64k 64k')
      const options = {
        driver: 'qcow2',
        file: {
          driver: 'blkdebug',
          'image.filename': image.path,
          'set-state': [{ event: 'write_aio', new_state: 2 }],
          'inject-error': [{ event: 'write_aio', state: 2 }],
        },
      }
      // a second data write would fail
      await image.io(`open json:${JSON.stringify(options)}`, { noFile: true })
      await image.io([`open json:${JSON.stringify(options)}`, 'write -P 42 0 192k'], { noFile: true })
      await image.isSound()
      t.equal(await image.map(), before)
    })
  },
)
