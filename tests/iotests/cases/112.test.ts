import { iotest } from '../src/harness.ts'

iotest(
  '112',
  'widths of refcounts',
  { formats: ['qcow2'], groups: ['rw', 'auto'], ownOptions: true },
  async (t) => {
    await t.section('only powers of two up to 64', async () => {
      for (const refcount_bits of ['0', '-1', '128', '42']) {
        const { run } = await t.tryCreate({ size: '64M', options: { refcount_bits } })
        t.equal(run.code, 1)
        t.match(run.text, 'Refcount width must be a power of two and may not exceed 64 bits\n')
      }
      for (const bits of [1, 2, 4, 8, 16, 32, 64]) {
        const image = await t.create({ size: '64M', options: { refcount_bits: String(bits) } })
        t.equal((await image.header()).refcountBits, bits)
        await image.io(['write -P 9 16M 8M', 'read -P 9 16M 8M', 'discard 17M 1M', 'write -P 8 17M 2M'])
        await image.isSound()
      }
    })
    await t.section('version 2 has 16 bits and no others', async () => {
      t.equal(
        (await t.tryCreate({ size: '64M', options: { compat: '0.10', refcount_bits: '16' } })).run.code,
        0,
      )
      for (const refcount_bits of ['1', '64']) {
        const { run } = await t.tryCreate({ size: '64M', options: { compat: '0.10', refcount_bits } })
        t.equal(run.code, 1)
        t.match(
          run.text,
          'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)\n',
        )
      }
    })
    await t.section('a count that no signed number holds', async () => {
      const image = await t.create({ size: '64M', options: { refcount_bits: '64' } })
      await image.io('write 0 512')
      await image.poke(0x20028, [0x80, 0, 0, 0, 0, 0, 0, 0])
      await image.poke(0x40000, [0, 0, 0, 0, 0, 5, 0, 0]) // a shared cluster, so the write must copy it
      const result = await image.io(['write -P 1 0 512', 'read -P 1 0 512', 'read -P 0xcd 512 0'])
      t.equal(result.reports.length, 3)
    })
    await t.section('more references than one bit can count', async () => {
      const image = await t.create({ size: '64M', options: { refcount_bits: '1' } })
      await image.io('write 0 64k')
      await image.poke(0x40008, [0x80, 0, 0, 0, 0, 5, 0, 0])
      const verdict = await image.check({ repair: 'all' })
      t.match(
        verdict.text,
        'ERROR: overflow cluster offset=0x50000\nUse qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing\n',
      )
      t.equal(verdict.code, 2)
    })
  },
)
