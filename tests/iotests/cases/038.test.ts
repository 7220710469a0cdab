import { iotest } from '../src/harness.ts'

const patternOf = (unit: number): number => ((unit % 128) + Math.floor(unit / 128)) % 128

iotest(
  '038',
  'copy on write with requests in flight for the same cluster',
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'refcount_bits=1', 'refcount_bits=64'],
  },
  async (t) => {
    const options = { cluster_size: '2M' }
    const base = await t.create({ name: 'base.qcow2', size: '128M', options })
    await base.io(Array.from({ length: 128 }, (_, i) => `write -P ${patternOf(i)} ${i * 64}k 64k`))
    const image = await t.create({ size: '6G', options, backing: base })

    // all but those that overlap the two requests across a cluster boundary
    const slots = Array.from({ length: 48 }, (_, i) => i).filter((i) => i !== 16 && i !== 32)
    const result = await image.io([
      'aio_write -P 0x80 2020k 80k',
      ...slots.map((i) => `aio_write -P ${0x81 + i} ${i * 128}k 64k`),
      ...slots.toReversed().map((i) => `aio_write -P ${0x81 + i} ${i * 128 + 32}k 64k`),
      'aio_write -P 0x90 4080k 80k',
    ])
    t.equal(result.reports.length, 2 + 2 * slots.length)

    await image.io([
      'read -P 31 2016k 4k',
      'read -P 0x80 2020k 80k',
      'read -P 32 2100k 12k',
      'read -P 33 2112k 64k',
      'read -P 63 4064k 16k',
      'read -P 0x90 4080k 80k',
      'read -P 65 4160k 64k',
      ...slots.map((i) => `read -P ${0x81 + i} ${i * 128}k 96k`),
      ...slots
        .filter((i) => i !== 15 && i !== 31)
        .map((i) => `read -P ${patternOf(2 * i + 1)} ${i * 128 + 96}k 32k`),
    ])
    await image.isSound()
  },
)
