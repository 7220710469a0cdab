import { iotest } from '../src/harness.ts'

iotest(
  '290',
  'what a discard shows afterwards',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: [
      'compat',
      'refcount_bits',
      'data_file',
      'cluster_size=2M',
      'lazy_refcounts',
      'extended_l2',
    ],
  },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '128k' })
    await base.io('write -P 0xff 0 128k')
    for (const compat of ['0.10', '1.1']) {
      await t.section(`compat=${compat}, alone`, async () => {
        const image = await t.create({ size: '128k', options: { compat } })
        await image.io(['write -P 1 0 128k', 'discard 0 128k', 'read -P 0 0 128k'])
        await image.io('read -P 0 0 128k')
        const run = await t.img(['map', '-f', 'qcow2', image.path])
        t.equal(run.text.split('\n').length, 2, 'a heading and nothing else')
        await image.isSound()
      })
      await t.section(`compat=${compat}, over a backing file`, async () => {
        const image = await t.create({ size: '128k', options: { compat }, backing: base })
        await image.io(['write -P 1 0 128k', 'discard 0 128k'])
        // version 2 has no zero clusters: a discard could only uncover the backing file, so it does nothing
        const shown = compat === '1.1' ? 0 : 1
        await image.io(`read -P ${shown} 0 128k`)
        const own = (await image.map()).filter(({ depth, data }) => depth === 0 && data)
        t.equal(own.length > 0, compat === '0.10')
        await image.isSound()
      })
    }
  },
)
