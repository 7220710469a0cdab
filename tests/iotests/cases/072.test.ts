import { iotest } from '../src/harness.ts'

iotest(
  '072',
  'an image inside an image',
  { formats: ['qcow2', 'qed'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    const inner = await t.create({ name: 'inner', size: '64M' })
    await inner.io(['write -P 42 0 512', 'write -P 23 512 512', 'write -P 66 1k 512'])
    const outer = t.image('outer')
    // The bytes of the image become the content of a disk.
    await outer.img(['convert', '-f', 'raw', '-O', t.format, inner.path, outer.path])
    await outer.isSound()
    await outer.io(
      [
        `open -o driver=${t.format},file.driver=${t.format},file.file.filename=${outer.path}`,
        'read -P 42 0 512',
        'read -P 23 512 512',
        'read -P 66 1k 512',
        'write -P 7 2k 512',
      ],
      { noFile: true },
    )
    await outer.isSound()
    const back = t.image('back')
    await back.img(['convert', '-f', t.format, '-O', 'raw', outer.path, back.path])
    await back.io(['read -P 7 2k 512', 'read -P 23 512 512'])
  },
)
