import { truncate } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'

/** Host offsets that qemu-img create uses with clusters of 64 KiB. */
const REFCOUNT_TABLE = 0x10000
const REFCOUNT_BLOCK = 0x20000
const L1 = 0x30000
const L2 = 0x40000
const CORRUPT_BIT = 1

/** The eight bytes of a table entry. */
const entry = (high: number, low: number): number[] =>
  [high, low].flatMap((half) => [24, 16, 8, 0].map((shift) => (half >>> shift) & 0xff))
const COPIED = 0x80000000

iotest(
  '060',
  'corrupt metadata is noticed before it is used',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: [
      'compat',
      'data_file',
      'refcount_bits',
      'cluster_size',
      'extended_l2',
      'lazy_refcounts',
    ],
  },
  async (t) => {
    let count = 0
    const fresh = (...commands: string[]): Promise<Image> => filled(`${count++}.qcow2`, commands)
    const filled = async (name: string, commands: readonly string[]): Promise<Image> => {
      const image = await t.create({ name, size: '64M' })
      if (commands.length > 0) await image.io(commands)
      return image
    }
    const isMarked = async (image: Image): Promise<boolean> =>
      (await image.incompatibleFeatures()).includes(CORRUPT_BIT)
    const marking = (what: string): string =>
      `qcow2: Marking image as corrupt: ${what}; further corruption events will be suppressed`
    const noting = (what: string): string =>
      `qcow2: Image is corrupt: ${what}; further non-fatal corruption events will be suppressed`

    await t.section('an L2 table where the L1 table is', async () => {
      const image = await fresh()
      await image.poke(L1, entry(COPIED, L1))
      const verdict = await image.check()
      t.equal([verdict.errors, verdict.code], [1, 2])
      t.match(verdict.text, 'ERROR cluster 3 refcount=1 reference=3\n')
      t.equal(await isMarked(image), false)

      const result = await image.tryIo([`open -o overlap-check=all ${image.path}`, 'write -P 0x2a 0 512'], {
        noFile: true,
      })
      t.equal(
        result.lines.toSorted(),
        [
          marking('Preventing invalid write on metadata (overlaps with active L1 table)'),
          'write failed: Input/output error',
        ].toSorted(),
      )
      t.equal(await isMarked(image), true)

      await t.section('a corrupt image opens read-only alone', async () => {
        const writable = await image.tryIo('read 0 512')
        t.equal(
          t.tidy(writable.text),
          `qemu-io: can't open device DIR/${image.path.split('/').at(-1)}: qcow2: Image is corrupt; cannot be opened read/write\n`,
        )
        await image.io('read 0 512', { readOnly: true })
        const info = (await image.info())['format-specific'] as {
          readonly data: { readonly corrupt: boolean }
        }
        t.equal(info.data.corrupt, true)
      })
    })

    await t.section('a data cluster where a refcount block is', async () => {
      const image = await fresh()
      await truncate(image.path, L2 + 0x10000)
      await image.poke(L1, entry(COPIED, L2))
      await image.poke(REFCOUNT_BLOCK + 8, [0, 1])
      await image.poke(L2, entry(COPIED, REFCOUNT_BLOCK))
      const verdict = await image.check()
      t.equal([verdict.errors, verdict.code], [2, 2])
      const result = await image.tryIo([`open -o overlap-check=all ${image.path}`, 'write -P 0x2a 0 512'], {
        noFile: true,
      })
      t.match(result.text, marking('Preventing invalid write on metadata (overlaps with refcount block)'))
      t.equal(await isMarked(image), true)

      const repair = await image.check({ repair: 'all' })
      t.equal([repair.code, repair.fixed], [0, { leaks: 0, corruptions: 2 }])
      t.equal(await isMarked(image), false)
      await image.io(['write -P 0x2a 0 512', 'read -P 0x2a 0 512'])
      await image.isSound()
    })

    await t.section('a header that counts as free', async () => {
      const image = await fresh('write 0 64k')
      await image.poke(REFCOUNT_BLOCK, [0, 0])
      const result = await image.tryIo('write 64k 64k')
      t.match(result.text, marking('Preventing invalid write on metadata (overlaps with qcow2_header)'))
      t.match(result.text, 'write failed: Input/output error\n')
    })

    await t.section('entries that point between clusters', async () => {
      const cases = [
        [L1, entry(COPIED, 0x42a00), 'read 0 64k', 'L2 table offset 0x42a00 unaligned (L1 index: 0)'],
        [
          L2,
          entry(COPIED, 0x52a00),
          'read 0 64k',
          'Cluster allocation offset 0x52a00 unaligned (L2 offset: 0x40000, L2 index: 0)',
        ],
        [
          REFCOUNT_TABLE,
          entry(0, 0x22a00),
          'write 64k 64k',
          'Refblock offset 0x22a00 unaligned (reftable index: 0)',
        ],
      ] as const
      for (const [at, bytes, command, what] of cases) {
        const image = await fresh('write 0 64k')
        await image.poke(at, bytes)
        const result = await image.tryIo(command)
        t.match(result.text, marking(what))
        t.match(result.text, `${command.split(' ')[0]} failed: Input/output error\n`)
        t.equal(await isMarked(image), true)
      }
    })

    await t.section('freeing such a cluster fails for itself alone', async () => {
      const image = await fresh('write 0 64k')
      await image.poke(L2, entry(COPIED, 0x52a00))
      const result = await image.tryIo('discard 0 64k')
      t.match(result.text, noting('Cannot free unaligned cluster 0x52a00'))
      t.equal(result.reports.length, 1)
      t.equal(await isMarked(image), false)
    })

    await t.section('a read-only image cannot be marked', async () => {
      const image = await fresh('write 0 64k')
      await image.poke(L2, entry(COPIED, 0x52a00))
      const result = await image.tryIo(['read 0 64k', 'read 0 64k'], { readOnly: true })
      t.equal(result.text.split('Image is corrupt').length, 2, 'told once')
      t.equal(result.lines.filter((line) => line === 'read failed: Input/output error').length, 2)
      t.equal(await isMarked(image), false)
    })

    await t.section('first a harmless one, then one that matters', async () => {
      const image = await fresh('write 0 128k')
      await image.poke(L2, entry(COPIED, 0x52a00))
      await image.poke(L2 + 8, entry(COPIED, 0x62a00))
      const result = await image.tryIo(['discard 0 64k', 'read 64k 64k'])
      t.match(result.text, noting('Cannot free unaligned cluster 0x52a00'))
      t.match(
        result.text,
        marking('Cluster allocation offset 0x62a00 unaligned (L2 offset: 0x40000, L2 index: 0x1)'),
      )
    })

    await t.section('an empty refcount table', async () => {
      const image = await fresh()
      await image.poke(REFCOUNT_TABLE, entry(0, 0))
      const result = await image.tryIo('write 0 64k')
      t.match(result.text, marking('Preventing invalid write on metadata (overlaps with refcount table)'))
      const repair = await image.check({ repair: 'all' })
      t.equal([repair.code, repair.fixed], [0, { leaks: 0, corruptions: 3 }])
      await image.io('write 0 64k')
      await image.isSound()

      const used = await fresh('write -P 0x19 0 64k')
      await used.poke(REFCOUNT_TABLE, entry(0, 0))
      const second = await used.tryIo('write 64k 64k')
      t.match(second.text, marking('Preventing invalid write on metadata (overlaps with refcount table)'))
      t.equal((await used.check({ repair: 'all' })).code, 0)
      await used.io('read -P 0x19 0 64k')
      await used.isSound()
    })

    await t.section('a dirty image whose repair is not possible in place', async () => {
      const image = await fresh()
      await image.poke(REFCOUNT_TABLE, entry(0, 0xffff2a00))
      await image.poke(79, [1]) // dirty
      await image.tryIo('close')
      t.equal((await image.check({ repair: 'all' })).code, 0)
      await image.isSound()
    })

    await t.section('a refcount table of no clusters', async () => {
      const image = await fresh()
      await image.poke(56, [0, 0, 0, 0])
      const result = await image.tryIo('write 0 64k')
      t.equal(result.code, 1)
      t.match(result.text, 'Image does not contain a reference count table\n')
      t.equal((await image.check({ repair: 'all' })).code, 0)
      await image.io('write 0 64k')
      await image.isSound()
    })
  },
)
