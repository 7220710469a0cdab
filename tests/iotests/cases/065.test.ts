import { iotest } from '../src/harness.ts'

iotest(
  '065',
  'what info says of a qcow2 image',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const about = async (options: Readonly<Record<string, string>>) => {
      const image = await t.create({ size: '64M', options })
      const info = await image.info()
      const human = (await t.img(['info', '-f', 'qcow2', image.path])).text
      const specific = (info['format-specific'] as { readonly type: string; readonly data: object }).data
      const lines = human
        .slice(human.indexOf('Format specific information:\n'))
        .trimEnd()
        .split('\n')
        .slice(1)
      return { specific, lines: lines.map((line) => line.trim()), info }
    }
    await t.section('version 2', async () => {
      const { specific, lines } = await about({ compat: '0.10' })
      t.equal(specific, { compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16 })
      t.equal(lines, ['compat: 0.10', 'compression type: zlib', 'refcount bits: 16'])
    })
    await t.section('version 3', async () => {
      for (const lazy of [false, true]) {
        const { specific, lines, info } = await about({ compat: '1.1', lazy_refcounts: lazy ? 'on' : 'off' })
        t.equal(specific, {
          compat: '1.1',
          'compression-type': 'zlib',
          'lazy-refcounts': lazy,
          'refcount-bits': 16,
          corrupt: false,
          'extended-l2': false,
        })
        t.equal(lines, [
          'compat: 1.1',
          'compression type: zlib',
          `lazy refcounts: ${lazy}`,
          'refcount bits: 16',
          'corrupt: false',
          'extended l2: false',
        ])
        t.equal(info['dirty-flag'], false)
      }
    })
    await t.section('the dirty flag of a crashed image', async () => {
      const image = await t.create({ size: '64M', options: { lazy_refcounts: 'on' } })
      await image.crashAfter('write 0 512', { cache: 'writethrough' })
      t.equal((await image.info())['dirty-flag'], true)
    })
    await t.section('other options', async () => {
      const { specific } = await about({ extended_l2: 'on', refcount_bits: '64' })
      t.equal(
        [
          (specific as Record<string, unknown>)['extended-l2'],
          (specific as Record<string, unknown>)['refcount-bits'],
        ],
        [true, 64],
      )
    })
  },
)
