import { iotest } from '../src/harness.ts'

const CHECKS = [
  'main-header',
  'active-l1',
  'active-l2',
  'refcount-table',
  'refcount-block',
  'snapshot-table',
  'inactive-l1',
  'inactive-l2',
]
const TEMPLATES = ['all', 'none', 'cached', 'constant']

iotest(
  '137',
  'changing qcow2 options by reopen',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'cluster_size', 'lazy_refcounts', 'data_file'],
  },
  async (t) => {
    await t.section('every option takes its values', async () => {
      const image = await t.create({ name: 'valid.qcow2', size: '64M' })
      await image.io([
        ...['on', 'off'].flatMap((value) => [
          `reopen -o lazy-refcounts=${value},pass-discard-request=${value}`,
          `reopen -o pass-discard-snapshot=${value},pass-discard-other=${value}`,
          ...CHECKS.map((check) => `reopen -o overlap-check.${check}=${value}`),
        ]),
        ...TEMPLATES.flatMap((value) => [
          `reopen -o overlap-check=${value}`,
          `reopen -o overlap-check.template=${value}`,
        ]),
        'reopen -o cache-size=1M',
        'reopen -o l2-cache-size=512k',
        'reopen -o l2-cache-entry-size=512',
        'reopen -o l2-cache-entry-size=4k',
        'reopen -o l2-cache-entry-size=64k',
        'reopen -o refcount-cache-size=128k',
        'reopen -o cache-clean-interval=5',
        'reopen -o cache-clean-interval=0',
        'reopen -o cache-clean-interval=10',
        'write -P 55 0 16M',
        'read -P 55 0 16M',
        'discard 0 16M',
        'write -z 0 16M',
        'read -P 0 0 16M',
      ])
      await image.isSound()
    })

    await t.section('values that make no sense', async () => {
      const image = await t.create({ name: 'invalid.qcow2', size: '64M' })
      const allowed = 'Allowed are any of the following: none, constant, cached, all'
      const entry = 'L2 cache entry size must be a power of two between 512 and the cluster size (65536)'
      for (const [options, message] of [
        ['lazy-refcounts=42', "Parameter 'lazy-refcounts' expects 'on' or 'off'"],
        [
          'cache-size=1M,l2-cache-size=64k,refcount-cache-size=64k',
          'cache-size, l2-cache-size and refcount-cache-size may not be set at the same time',
        ],
        ['cache-size=1M,l2-cache-size=2M', 'l2-cache-size may not exceed cache-size'],
        ['cache-size=1M,refcount-cache-size=2M', 'refcount-cache-size may not exceed cache-size'],
        ['l2-cache-entry-size=33k', entry],
        ['l2-cache-entry-size=128k', entry],
        ['refcount-cache-size=256T', 'Refcount cache size too big'],
        [
          'overlap-check=constant,overlap-check.template=all',
          "Conflicting values for qcow2 options 'overlap-check' ('constant') and 'overlap-check.template' ('all')",
        ],
        ['overlap-check=blubb', `Unsupported value 'blubb' for qcow2 option 'overlap-check'. ${allowed}`],
        [
          'overlap-check.template=blubb',
          `Unsupported value 'blubb' for qcow2 option 'overlap-check'. ${allowed}`,
        ],
        ['cache-clean-interval=-1', 'Cache clean interval too big'],
      ]) {
        const result = await image.tryIo(`reopen -o ${options}`)
        t.equal([result.text, result.code], [`qemu-io: ${message}\n`, 1], options)
      }
    })

    await t.section('a reopen that fails changes nothing', async () => {
      const image = await t.create({ name: 'atomic.qcow2', size: '64M' })
      const result = await image.tryIo([
        'reopen -o lazy-refcounts=on,overlap-check=blubb',
        'write -P 0x5a 0 512',
        'abort',
      ])
      t.equal(result.code === 0, false)
      t.match(result.text, "Unsupported value 'blubb'")
      t.equal((await image.incompatibleFeatures()).includes(0), false)
    })
    await t.section('so the overlap check stays on', async () => {
      const image = await t.create({ name: 'overlap.qcow2', size: '64M' })
      const { refcountTableOffset, clusterSize } = await image.header()
      // the refcount block right after its table: the whole image counts as free
      await image.poke(refcountTableOffset + clusterSize, [0, 0, 0, 0, 0, 0, 0, 0])
      const result = await image.tryIo(['reopen -o overlap-check=none,lazy-refcounts=42', 'write 64k 64k'])
      t.equal(result.lines.at(-1), 'write failed: Input/output error')
      t.equal(await image.incompatibleFeatures().then((bits) => bits.includes(1)), true, 'marked corrupt')
    })
  },
)
