import { iotest } from '../src/harness.ts'

iotest(
  '103',
  'sizes of the metadata caches',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['refcount_bits=1', 'data_file', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    const image = await t.create({ size: '64k' })
    await image.io('write -P 42 0 64k')
    const open = (options: string, ...more: string[]) =>
      image.tryIo([`open -o ${options} ${image.path}`, ...more], { noFile: true, format: null })

    const entrySize = 'L2 cache entry size must be a power of two between 512 and the cluster size (65536)'
    const three = 'cache-size, l2-cache-size and refcount-cache-size may not be set at the same time'
    await t.section('impossible sizes', async () => {
      for (const [options, message] of [
        ['cache-size=1.25M,l2-cache-size=1M,refcount-cache-size=0.25M', three],
        ['cache-size=1M,l2-cache-size=2M', 'l2-cache-size may not exceed cache-size'],
        ['cache-size=1M,refcount-cache-size=2M', 'refcount-cache-size may not exceed cache-size'],
        ['cache-size=0,l2-cache-size=0,refcount-cache-size=0', three],
        ['l2-cache-entry-size=256', entrySize],
        ['l2-cache-entry-size=4242', entrySize],
        ['l2-cache-entry-size=128k', entrySize],
      ]) {
        const result = await open(options ?? '')
        t.equal(result.code, 1)
        t.equal(t.tidy(result.text), `qemu-io: can't open device DIR/t.qcow2: ${message}\n`)
      }
    })
    await t.section('possible sizes, down to none', async () => {
      for (const options of [
        'cache-size=0',
        'l2-cache-size=0',
        'refcount-cache-size=0',
        'cache-size=2M',
        'cache-size=2M,l2-cache-size=1M',
        'cache-size=2M,refcount-cache-size=1M',
        'l2-cache-size=1M,refcount-cache-size=0.25M',
        'l2-cache-entry-size=512',
        'l2-cache-entry-size=16k',
        'l2-cache-entry-size=64k',
      ]) {
        const result = await open(options, 'read -P 42 0 64k')
        t.equal([result.code, result.mismatches], [0, []], options)
      }
      t.equal((await open('cache-size=0', 'write -P 43 0 64k', 'read -P 43 0 64k')).code, 0)
    })
    await image.isSound()
  },
)
