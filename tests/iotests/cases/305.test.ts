import { iotest } from '../src/harness.ts'

iotest(
  '305',
  'an allocation that fails half way leaves nothing behind',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const image = await t.create({ size: '1M', options: { refcount_bits: '64', cluster_size: '1k' } })
    // one refcount block covers 128 clusters: the write fills it and takes one cluster of the next
    await image.io(['write -P 1 0 124k', 'discard 121k 1k', 'discard 123k 1k'])
    const { refcountTableOffset } = await image.header()
    await image.poke(refcountTableOffset + 14, [6]) // the second block lies between clusters
    const result = await image.tryIo('write -P 2 121k 3k')
    t.equal(result.code, 1)
    t.equal(result.lines.toSorted(), [
      'qcow2: Marking image as corrupt: Refblock offset 0x20600 unaligned (reftable index: 0x1); further corruption events will be suppressed',
      'write failed: Input/output error',
    ])
    await image.io(['read -P 1 0 121k', 'read -P 0 121k 1k'], { readOnly: true })
  },
)
