import { iotest } from '../src/harness.ts'

iotest(
  '073',
  'reads over neighbouring clusters of different kinds',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file', 'cluster_size'] },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '4M' })
    const image = await t.create({ size: '4M', backing: base })
    await base.io('write -P 0xa5 0 4M')
    const on = async (where: 'base' | 'overlay', ...commands: string[]) =>
      void (await (where === 'base' ? base : image).io(commands))

    await t.section('data, then unallocated', async () => {
      await on('overlay', 'write -P 0x11 0 0x10000')
      await on('base', 'write -P 0x11 0x10000 0x10000')
      await on('overlay', 'read -P 0x11 0 0x20000')
    })
    await t.section('data, then zero', async () => {
      await on('overlay', 'write -P 0x33 0x40000 0x20000')
      await on('base', 'write -P 0x33 0x40000 0x20000')
      await on('overlay', 'write -P 0 0x40000 0x10000', 'write -z 0x50000 0x10000')
      await on('overlay', 'read -P 0 0x40000 0x20000')
    })
    await t.section('unallocated, then data', async () => {
      await on('base', 'write -P 0x44 0x60000 0x10000')
      await on('overlay', 'write -P 0x44 0x70000 0x10000')
      await on('overlay', 'read -P 0x44 0x60000 0x20000')
    })
    await t.section('unallocated, then zero', async () => {
      await on('base', 'write -P 0x66 0xa0000 0x20000', 'write -P 0 0xa0000 0x10000')
      await on('overlay', 'write -z 0xb0000 0x10000')
      await on('overlay', 'read -P 0 0xa0000 0x20000')
    })
    await t.section('zero, then data', async () => {
      await on(
        'overlay',
        'write -P 0xaa 0x120000 0x10000',
        'write -P 0 0x130000 0x10000',
        'write -z 0x120000 0x10000',
      )
      await on('overlay', 'read -P 0 0x120000 0x20000')
    })
    await t.section('zero, then unallocated', async () => {
      await on('overlay', 'write -z 0x140000 0x10000')
      await on('base', 'write -P 0 0x150000 0x10000')
      await on('overlay', 'read -P 0 0x140000 0x20000')
    })
    await image.isSound()
    await base.isSound()
  },
)
