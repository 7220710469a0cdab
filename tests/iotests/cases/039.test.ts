import { iotest } from '../src/harness.ts'

const LAZY = { compat: '1.1', lazy_refcounts: 'on' }
const EAGER = { compat: '1.1', lazy_refcounts: 'off' }

iotest(
  '039',
  'lazy refcounts: the dirty bit, a crash, the repair',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    caches: ['writethrough'],
    // A data file's clusters have no refcounts; other cluster sizes and subclusters move the offsets used
    // below.
    unsupportedOptions: [
      'data_file',
      'cluster_size',
      'compat',
      'lazy_refcounts',
      'extended_l2',
      'refcount_bits=1',
    ],
  },
  async (t) => {
    const lazy = () => t.create({ size: '128M', options: LAZY })
    const repairs = (text: string): string[] =>
      text.split('\n').filter((line) => /^(ERROR|Repairing|Rebuilding)/.test(line))
    const EXPECTED_REPAIR = [
      'ERROR cluster 5 refcount=0 reference=1',
      'Rebuilding refcount structure',
      'Repairing cluster 1 refcount=1 reference=0',
      'Repairing cluster 2 refcount=1 reference=0',
    ]
    const isCrashed = async (image: Awaited<ReturnType<typeof lazy>>) => {
      t.equal(await image.incompatibleFeatures(), [0])
      const verdict = await image.check()
      t.equal(verdict.code, 2)
      t.equal([verdict.errors, verdict.leaks, verdict.checkErrors], [2, 0, 0])
      t.equal(repairs(verdict.text), [
        'ERROR cluster 5 refcount=0 reference=1',
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=0',
      ])
    }
    const isClean = async (image: Awaited<ReturnType<typeof lazy>>) => {
      t.equal(await image.incompatibleFeatures(), [])
      await image.isSound()
    }

    await t.section('1: a clean shutdown leaves a clean image', async () => {
      const image = await lazy()
      t.equal((await image.header()).compatible, [0])
      await image.io('write -P 0x5a 0 512')
      await isClean(image)
    })

    await t.section('2 to 5: a crash, then reading, then repairing', async () => {
      const image = await lazy()
      await image.crashAfter('write -P 0x5a 0 512')
      await isCrashed(image)

      await image.io('read -P 0x5a 0 512', { readOnly: true })
      t.equal(await image.incompatibleFeatures(), [0], 'reading read-only leaves the bit')

      const verdict = await image.check({ repair: 'all' })
      t.equal(repairs(verdict.text), EXPECTED_REPAIR)
      t.equal(verdict.fixed, { leaks: 0, corruptions: 1 })
      t.match(verdict.text, 'Double checking the fixed image now...\nNo errors were found on the image.')
      t.equal(verdict.code, 0)
      await isClean(image)
      await image.io('read -P 0x5a 0 512')
    })

    await t.section('6: opening for writing repairs first', async () => {
      const image = await lazy()
      await image.crashAfter('write -P 0x5a 0 512')
      t.equal(await image.incompatibleFeatures(), [0])
      const result = await image.tryIo('write 0 512')
      t.equal(result.code, 0)
      t.equal(repairs(result.text), EXPECTED_REPAIR)
      t.equal(result.reports, [{ verb: 'wrote', done: 512, wanted: 512, offset: 0 }])
      await isClean(image)
    })

    await t.section('7: eager refcounts need no dirty bit', async () => {
      const image = await t.create({ size: '128M', options: EAGER })
      await image.crashAfter('write -P 0x5a 0 512')
      await isClean(image)
    })

    await t.section('8: commit leaves overlay and backing file clean', async () => {
      const base = await t.create({ name: 'base.qcow2', size: '128M', options: LAZY })
      const overlay = await t.create({ size: '128M', options: LAZY, backing: base })
      await overlay.io('write -P 0x5a 0 512')
      const run = await t.img(['commit', '-f', 'qcow2', overlay.path])
      t.equal([run.code, run.text], [0, 'Image committed.\n'])
      await isClean(overlay)
      await isClean(base)
      await base.io('read -P 0x5a 0 512')
    })

    await t.section('9: lazy refcounts switched on at run time', async () => {
      const image = await t.create({ size: '128M', options: EAGER })
      await image.crashAfter(['reopen -o lazy-refcounts=on', 'write -P 0x5a 0 512'])
      await isCrashed(image)
    })

    await t.section('10: lazy refcounts switched off at run time', async () => {
      const image = await lazy()
      await image.crashAfter(['reopen -o lazy-refcounts=off', 'write -P 0x5a 0 512'])
      await isClean(image)
    })
  },
)
