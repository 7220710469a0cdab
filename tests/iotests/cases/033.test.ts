import { iotest } from '../src/harness.ts'

iotest(
  '033',
  'zero writes, aligned and not, over a protocol with an alignment',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const size = 16 * 1024 * 1024
    const image = await t.create({ size })
    const withAlignment = (align: string, ...commands: string[]) =>
      image.io([`open -o driver=${t.format},file.align=${align} blkdebug::${image.path}`, ...commands], {
        noFile: true,
      })

    for (const zero of ['write -z', 'aio_write -z']) {
      for (const align of ['512', '4k']) {
        await t.section(`${zero}, alignment ${align}`, async () => {
          await withAlignment(align, 'write -P 0xa 0x200 0x400', 'write -P 0xa 0x20000 0x600')
          await withAlignment(align, `${zero} 0x400 0x20000`)
          await withAlignment(
            align,
            'read -P 0xa 0x200 0x200',
            'read -P 0 0x400 0x20000',
            'read -P 0xa 0x20400 0x200',
          )

          await withAlignment(align, 'write -P 0xb 0x10000 0x10000')
          await withAlignment(align, `${zero} 0x10000 0x10000`)
          await withAlignment(align, 'read -P 0 0x400 0x20000')

          await withAlignment(align, 'write -P 0xb 0 0x1000')
          await withAlignment(align, `${zero} 0x200 0x200`)
          await withAlignment(
            align,
            'read -P 0xb 0 0x200',
            'read -P 0 0x200 0x200',
            'read -P 0xb 0x400 0xc00',
          )
        })
      }
    }
    await image.isSound()

    if (t.format !== 'qcow2') return
    await t.section('shrinking to the end of an L2 table', async () => {
      const covered = 4096 * 512 // what one L2 table of 4 KiB clusters maps
      const small = await t.create({
        name: 'small',
        size: 2 * covered,
        options: { cluster_size: '4k', ...(t.variant.options['extended_l2'] ? { extended_l2: 'off' } : {}) },
      })
      await small.io(['write -P 1 0 0x200', `write -P 1 ${covered} 0x200`, `truncate ${covered}`])
      await small.io('read -P 1 0 0x200')
      t.equal(await small.size(), covered)
      await small.isSound()
    })
  },
)
