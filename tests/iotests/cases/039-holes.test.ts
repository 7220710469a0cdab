import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'

const LAZY = { compat: '1.1', lazy_refcounts: 'on' }

/**
 * Three ways in which QEMU 7.2 clears the dirty bit although the refcounts are still wrong, after
 * which the next allocation overwrites data. Here the bit stays until a complete repair.
 */
iotest(
  '039-holes',
  'lazy refcounts: nothing but a complete repair clears the dirty bit',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    caches: ['writethrough'],
    unsupportedOptions: ['data_file', 'compat', 'lazy_refcounts', 'refcount_bits=1'],
    requires: ['ours'],
  },
  async (t) => {
    const isDirty = async (image: Image) => (await image.incompatibleFeatures()).includes(0)
    const crashed = async (name: string) => {
      const image = await t.create({ name, size: '128M', options: LAZY })
      await image.crashAfter('write -P 0x5a 0 512')
      t.equal(await isDirty(image), true)
      return image
    }
    const far = 16 * 1024 * 1024

    await t.section('A: repairing leaks alone keeps the bit', async () => {
      const image = await crashed('a.qcow2')
      const verdict = await image.check({ repair: 'leaks' })
      t.equal(verdict.code === 0, false, 'an incomplete repair is not a success')
      t.equal(await isDirty(image), true)
      const result = await image.tryIo([
        `write -P 0x77 ${far} 512`,
        'read -P 0x5a 0 512',
        `read -P 0x77 ${far} 512`,
      ])
      t.equal([result.code, result.mismatches, result.reports.length], [0, [], 3])
      t.equal(await isDirty(image), false)
      await image.isSound()
    })

    await t.section('B: becoming writable by reopen repairs', async () => {
      const image = await crashed('b.qcow2')
      const result = await image.tryIo(['reopen -w', `write -P 0x77 ${far} 512`, 'read -P 0x5a 0 512'], {
        readOnly: true,
      })
      t.equal([result.code, result.mismatches], [0, []])
      t.equal(await isDirty(image), false)
      await image.isSound()
      await image.io(['read -P 0x5a 0 512', `read -P 0x77 ${far} 512`])
    })

    await t.section('C: commit into a dirty backing file repairs it', async () => {
      const base = await crashed('c-base.qcow2')
      const overlay = await t.create({ name: 'c.qcow2', size: '128M', options: LAZY, backing: base })
      await overlay.io(`write -P 0x77 ${far} 512`)
      t.equal(await isDirty(base), true, 'a dirty backing file is left alone while only read')
      t.equal((await t.img(['commit', '-f', 'qcow2', overlay.path])).code, 0)
      t.equal(await isDirty(base), false)
      await base.isSound()
      await base.io(['read -P 0x5a 0 512', `read -P 0x77 ${far} 512`])
    })
  },
)
