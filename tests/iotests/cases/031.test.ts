import { iotest } from '../src/harness.ts'
import { readHeader, writeExtensions } from '../src/qcow2-bytes.ts'

iotest(
  '031',
  'unknown header extensions survive',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: [
      'data_file',
      'refcount_bits',
      'cluster_size',
      'extended_l2',
      'compat',
      'lazy_refcounts',
    ],
  },
  async (t) => {
    const unknown = { type: 0x12345678, data: new TextEncoder().encode('an extension of another program') }
    for (const compat of ['0.10', '1.1']) {
      await t.section(`compat=${compat}`, async () => {
        const image = await t.create({ name: compat, size: '64M', options: { compat } })
        const fresh = await readHeader(image.path)
        await writeExtensions(image.path, [unknown, ...fresh.extensions])
        await image.isSound()
        const rewrites = [
          ['resize', '-f', 'qcow2', image.path, '128M'],
          ['amend', '-f', 'qcow2', '-o', 'compat=1.1', image.path],
          ['amend', '-f', 'qcow2', '-o', 'lazy_refcounts=on', image.path],
          ['amend', '-f', 'qcow2', '-o', 'compat=0.10,lazy_refcounts=off', image.path],
        ]
        for (const args of rewrites) {
          const run = await t.img(args)
          t.equal([run.code, args.join(' ')], [0, args.join(' ')])
          const { extensions } = await readHeader(image.path)
          t.equal(extensions.filter(({ type }) => type === unknown.type).length, 1)
          t.equal(
            Buffer.from(extensions.find(({ type }) => type === unknown.type)?.data ?? []).toString(),
            'an extension of another program',
          )
        }
        await image.isSound()
      })
    }
  },
)
