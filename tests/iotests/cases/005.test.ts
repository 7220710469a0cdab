import { iotest } from '../src/harness.ts'

const GIB = 1024 ** 3

iotest(
  '005',
  'an image of several terabytes',
  // 512-byte clusters: the L1 table would pass its limit of 32 MiB
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['cluster_size=512'] },
  async (t) => {
    const image = await t.create({ size: '5000G' })
    t.equal(await image.size(), 5000 * GIB)
    await image.io('read -P 0 1024 4096')
    await image.io(['write -P 0x17 8192 4096', 'read -P 0x17 8192 4096', 'read -P 0 12288 4096'])
    await t.section('the last bytes of it', async () => {
      const end = 5000 * GIB
      await image.io([`write -P 0x18 ${end - 512} 512`, `read -P 0x18 ${end - 512} 512`])
    })
    await image.isSound()
  },
)
