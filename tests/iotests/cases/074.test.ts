import { copyFile, writeFile } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

iotest(
  '074',
  'compare meets a read error',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    const options = { cluster_size: '4k' }
    const rules = t.path('blkdebug.conf')
    await writeFile(rules, '[inject-error]\nevent = "read_aio"\nerrno = "5"\nonce = "off"\n')
    const image = await t.create({ size: '16M', options })
    const other = t.image('other.qcow2')
    await copyFile(image.path, other.path)
    await image.io('write -P 102 512 512')
    const compare = async (first: string): Promise<[number, string[]]> => {
      const run = await t.img(['compare', first, other.path])
      // the two streams have no order between them
      return [run.code, t.tidy(run.text).trimEnd().split('\n').sort()]
    }
    const failing = `blkdebug:${rules}:${image.path}`
    const message =
      'qemu-img: Error while reading offset 0 of blkdebug:DIR/blkdebug.conf:DIR/t.qcow2: Input/output error'

    t.equal(await compare(image.path), [1, ['Content mismatch at offset 512!']])
    t.equal(await compare(failing), [4, [message]])
    await t.section('also where only one of the images has anything', async () => {
      await t.create({ name: 'other.qcow2', size: 0, options })
      t.equal(await compare(failing), [4, ['Warning: Image size mismatch!', message]])
    })
  },
)
