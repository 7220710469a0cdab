import { iotest } from '../src/harness.ts'

iotest(
  '115',
  'refcount blocks that cannot describe themselves',
  { formats: ['qcow2'], groups: ['rw', 'auto'], ownOptions: true, timeout: 60_000 },
  async (t) => {
    // one block of 64-bit refcounts describes 64 clusters of 512 bytes: much metadata for little data
    const image = await t.create({
      size: '32M',
      options: { refcount_bits: '64', cluster_size: '512', preallocation: 'metadata' },
    })
    await image.isSound()
    const map = await image.map()
    t.equal(
      map.reduce((sum, entry) => sum + entry.length, 0),
      32 * 1024 * 1024,
    )
    t.equal(
      map.every((entry) => entry.present !== false),
      true,
    )
  },
)
