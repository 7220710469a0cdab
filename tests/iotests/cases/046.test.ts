import { iotest } from '../src/harness.ts'

const UNIT = 64 * 1024

/** Guest ranges of one step, relative to its unit: writes while another allocation is held back. */
interface Step {
  readonly about: string
  readonly unit: number
  readonly before?: readonly string[]
  /** [pattern, offset, length] of the request that is stopped before it writes. */
  readonly held: readonly [number, number, number]
  readonly meanwhile: readonly (readonly [number, number, number])[]
}

const STEPS: readonly Step[] = [
  {
    about: 'three requests for one cluster',
    unit: 1,
    held: [10, 0x18000, 0x2000],
    meanwhile: [
      [11, 0x12000, 0x2000],
      [12, 0x1c000, 0x2000],
    ],
  },
  {
    about: 'the second goes on behind the first',
    unit: 2,
    held: [20, 0x28000, 0x2000],
    meanwhile: [[21, 0x2a000, 0x10000]],
  },
  { about: 'the same with a gap', unit: 4, held: [40, 0x48000, 0x2000], meanwhile: [[41, 0x4c000, 0x10000]] },
  {
    about: 'the second ends in an allocated cluster',
    unit: 6,
    before: ['write -P 70 0x76000 0x8000', 'aio_flush'],
    held: [60, 0x66000, 0x2000],
    meanwhile: [[61, 0x6a000, 0xe000]],
  },
  {
    about: 'in a cluster that was discarded',
    unit: 8,
    before: [
      'write -P 89 0x80000 0x1000',
      'write -P 90 0x96000 0x8000',
      'aio_flush',
      'discard 0x80000 0x10000',
    ],
    held: [80, 0x86000, 0x2000],
    meanwhile: [[81, 0x8a000, 0xe000]],
  },
  {
    about: 'the second lies before the first',
    unit: 12,
    held: [121, 0xdc000, 0x2000],
    meanwhile: [[120, 0xc4000, 0x18000]],
  },
  {
    about: 'and ends in the same cluster',
    unit: 14,
    held: [141, 0xfc000, 0x2000],
    meanwhile: [[140, 0xe4000, 0x14000]],
  },
  {
    about: 'and overlaps it',
    unit: 16,
    held: [161, 0x10c000, 0x8000],
    meanwhile: [[160, 0x104000, 0x18000]],
  },
]

iotest(
  '046',
  'allocations of one cluster at the same time',
  {
    formats: ['qcow2'],
    groups: ['rw', 'aio', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'cluster_size'],
  },
  async (t) => {
    const base = await t.create({ name: 'base.qcow2', size: '128M' })
    await base.io(Array.from({ length: 32 }, (_, i) => `write -P ${i} ${i * 64}k 64k`))
    const image = await t.create({ size: '6G', backing: base })

    const commands = STEPS.flatMap(({ before = [], held: [byte, offset, bytes], meanwhile }) => [
      ...before,
      'break write_aio A',
      `aio_write -P ${byte} ${offset} ${bytes}`,
      'wait_break A',
      ...meanwhile.map(([pattern, at, length]) => `aio_write -P ${pattern} ${at} ${length}`),
      'resume A',
      'aio_flush',
    ])
    const options = {
      imageOpts: `driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=${image.path}`,
    }
    await image.io(commands, options)

    // A v2 overlay cannot discard data without showing its backing file, so there a discard does nothing.
    const v2 = t.variant.options['compat'] === '0.10'
    const expected = new Map<number, number>() // by 4 KiB
    const fill = (byte: number, offset: number, bytes: number): void => {
      for (let at = offset; at < offset + bytes; at += 4096) expected.set(at, byte)
    }
    for (let unit = 0; unit < 18; unit++) fill(unit, unit * UNIT, UNIT)
    if (v2) fill(89, 0x80000, 0x1000)
    else fill(0, 0x80000, 0x10000)
    fill(70, 0x76000, 0x8000)
    fill(90, 0x96000, 0x8000)
    for (const { held, meanwhile } of STEPS)
      for (const [byte, at, length] of [held, ...meanwhile]) fill(byte, at, length)
    for (let at = 0x10c000; at < 0x114000; at += 4096) expected.delete(at) // either of two writers
    // requests are multiples of 8 KiB at 8 KiB boundaries, except for one of 4 KiB
    await image.io([...expected].map(([at, byte]) => `read -P ${byte} ${at} 4096`))
    await image.isSound()
  },
)
