import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'
import { setFeature } from '../src/qcow2-bytes.ts'

iotest(
  '061',
  'amend: versions, lazy refcounts, size',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto'],
    unsupportedOptions: [
      'data_file',
      'cluster_size',
      'compat',
      'lazy_refcounts',
      'refcount_bits',
      'extended_l2',
    ],
  },
  async (t) => {
    const LAZY = { compat: '1.1', lazy_refcounts: 'on' }
    const amend = async (image: Image, options: string): Promise<[number, string]> => {
      const run = await t.img(['amend', '-f', 'qcow2', '-o', options, image.path])
      return [run.code, t.tidy(run.text)]
    }
    const features = async (image: Image) => {
      const { version, incompatible, compatible, autoclear } = await image.header()
      return [version, incompatible, compatible, autoclear]
    }
    const V2 = [2, [], [], []]

    await t.section('down to version 2, where zero clusters become data', async () => {
      const image = await t.create({ name: 'zero.qcow2', size: '64M', options: LAZY })
      await image.io(['write -z 0 128k', 'write -z 32M 128k'])
      t.equal(await features(image), [3, [], [0], []])
      t.equal(await amend(image, 'compat=0.10'), [0, ''])
      t.equal(await features(image), V2)
      await image.io(['read -P 0 0 128k', 'read -P 0 32M 128k'])
      await image.isSound()
    })
    await t.section('over a backing file', async () => {
      const base = await t.create({ name: 'base.qcow2', size: '64M', options: { compat: '1.1' } })
      await base.io('write -P 0x2a 0 128k')
      const image = await t.create({
        name: 'overlay.qcow2',
        size: '64M',
        options: { compat: '1.1' },
        backing: base,
      })
      await image.io(['read -P 0x2a 0 128k', 'write -z 0 64k'])
      t.equal(await amend(image, 'compat=0.10'), [0, ''])
      await image.io(['read -P 0 0 64k', 'read -P 0x2a 64k 64k'])
      await image.isSound()
    })
    await t.section('preallocated zeroes become plain data', async () => {
      const image = await t.create({ name: 'full.qcow2', size: '4M', options: { compat: '1.1' } })
      await image.io(['write -P 0x2a 0 4M', 'write -z 0 4M'])
      t.equal(await amend(image, 'compat=0.10'), [0, ''])
      await image.io('read -P 0 0 4M')
      await image.isSound()
    })
    for (const [name, options, after] of [
      ['down', 'compat=0.10', V2],
      ['eager', 'lazy_refcounts=off', [3, [], [], []]],
    ] as const) {
      await t.section(`a dirty image is repaired first (${options})`, async () => {
        const image = await t.create({ name: `dirty-${name}.qcow2`, size: '64M', options: LAZY })
        await image.crashAfter(['write -P 0x2a 0 128k', 'flush'])
        t.equal(await features(image), [3, [0], [0], []])
        const [code, text] = await amend(image, options)
        t.equal(code, 0)
        t.match(
          text,
          'ERROR cluster 5 refcount=0 reference=1\nERROR cluster 6 refcount=0 reference=1\nRebuilding refcount structure\n',
        )
        t.equal(await features(image), after)
        await image.io('read -P 0x2a 0 128k')
        await image.isSound()
      })
    }
    await t.section('unknown compatible and autoclear bits are dropped', async () => {
      const image = await t.create({ name: 'unknown.qcow2', size: '64M', options: { compat: '1.1' } })
      await setFeature(image.path, 'compatible', 42)
      await setFeature(image.path, 'autoclear', 42)
      t.equal(await amend(image, 'compat=0.10'), [0, ''])
      t.equal(await features(image), V2)
      await image.isSound()
    })
    await t.section('up, lazy and larger in one go', async () => {
      const image = await t.create({ name: 'up.qcow2', size: '64M', options: { compat: '0.10' } })
      await image.io('write -P 0x2a 42M 64k')
      t.equal(await features(image), V2)
      t.equal(await amend(image, 'compat=1.1,lazy_refcounts=on,size=128M'), [0, ''])
      t.equal(await features(image), [3, [], [0], []])
      t.equal(await image.size(), 128 * 1024 * 1024)
      await image.io('read -P 0x2a 42M 64k')
      await image.isSound()
    })
    await t.section('what cannot be', async () => {
      const image = await t.create({ name: 'refused.qcow2', size: '64M', options: { compat: '0.10' } })
      const lazy =
        'qemu-img: Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)\n'
      t.equal(await amend(image, 'lazy_refcounts=on'), [1, lazy])
      t.equal(await amend(image, 'compat=1.1'), [0, ''])
      t.equal(await amend(image, 'compat=0.10,lazy_refcounts=on'), [1, lazy])
      t.equal(await amend(image, 'compat=0.42'), [1, 'qemu-img: Unknown compatibility level 0.42\n'])
      t.equal(await amend(image, 'foo=bar'), [1, "qemu-img: Invalid parameter 'foo'\n"])
      for (const [key, value] of [
        ['cluster_size', '1k'],
        ['encryption', 'on'],
        ['preallocation', 'on'],
      ]) {
        t.equal(await amend(image, `${key}=${value}`), [
          1,
          `qemu-img: Invalid parameter '${key}'\nThis option is only supported for image creation\n`,
        ])
      }
      const extended = await t.create({ name: 'extended.qcow2', size: '64M', options: { extended_l2: 'on' } })
      t.equal(await amend(extended, 'compat=0.10'), [
        1,
        'qemu-img: Cannot downgrade an image with incompatible features 0x10 set\n',
      ])
      const data = await t.create({ name: 'data.qcow2', size: '64M', options: { data_file: '$IMG.raw' } })
      t.equal(await amend(data, 'compat=0.10'), [1, 'qemu-img: Cannot downgrade an image with a data file\n'])
    })
  },
)
