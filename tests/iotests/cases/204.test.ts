import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '204',
  'block status through a driver of coarse alignment',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    const options = { cluster_size: '1M' }
    const base = await t.create({ name: 'base.qcow2', size: 32 * MIB, options })
    await base.io('write -P 11 0 32M')
    const image = await t.create({ size: 32 * MIB, options, backing: base })
    await image.io('write -P 22 0 20M')
    const limited = (limits: string, ...commands: string[]) =>
      image.io(
        [`open -o driver=blkdebug,image.driver=qcow2,${limits} blkdebug::${image.path}`, ...commands],
        {
          noFile: true,
        },
      )
    await limited('align=4k,max-transfer=64k', 'write -P 33 1000 128k', 'read -P 33 1000 128k')
    await limited(
      'align=512,opt-write-zero=3M,max-write-zero=3M,opt-discard=3M,max-discard=3M',
      'write -z 6M 6M',
    )

    const status = await limited('align=4k', 'alloc 1 1', 'alloc 0x13ffff0 1000', 'alloc 30m 5P', 'map')
    t.equal(status.lines, [
      '1/1 bytes allocated at offset 1 bytes',
      '16/1000 bytes allocated at offset 20 MiB',
      '0/2097152 bytes allocated at offset 30 MiB',
      '20 MiB (0x1400000) bytes     allocated at offset 0 bytes (0x0)',
      '12 MiB (0xc00000) bytes not allocated at offset 20 MiB (0x1400000)',
    ])
    await image.io([
      'read -P 22 0 1000',
      'read -P 33 1000 128k',
      'read -P 22 132072 6159384',
      'read -P 0 6M 6M',
      'read -P 22 12M 8M',
      'read -P 11 20M 12M',
    ])
    await image.isSound()
  },
)
