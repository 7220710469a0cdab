import { iotest } from '../src/harness.ts'

const SIZES = [
  ['1024', 1024],
  ['1024b', 1024],
  ['1k', 1024],
  ['1K', 1024],
  ['1M', 1024 ** 2],
  ['1G', 1024 ** 3],
  ['1T', 1024 ** 4],
  ['1024.0', 1024],
  ['1024.0b', 1024],
  ['1.5k', 1536],
  ['1.5M', 1.5 * 1024 ** 2],
  ['1.5T', 1.5 * 1024 ** 4],
] as const

const CLUSTERS = [
  ['1024b', 1024],
  ['1k', 1024],
  ['1M', 1024 ** 2],
  ['1024.0', 1024],
  ['0.5k', 512],
  ['0.5K', 512],
  ['0.5M', 512 * 1024],
] as const

const SUFFIXES =
  'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.\n'

iotest(
  '049',
  "parsing of qemu-img create's sizes and options",
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const image = t.image('t.qcow2')
    const create = async (...args: string[]): Promise<[number, string]> => {
      const run = await t.img(['create', '-f', 'qcow2', ...args])
      return [run.code, t.tidy(run.text)]
    }
    interface Shown {
      readonly size: number
      readonly cluster?: number
      readonly preallocation?: string
      readonly compat?: string
      readonly lazy?: string
    }
    const formatting = ({ size, cluster = 65536, preallocation, compat, lazy = 'off' }: Shown): string =>
      `Formatting 'DIR/t.qcow2', fmt=qcow2 cluster_size=${cluster} extended_l2=off` +
      `${preallocation ? ` preallocation=${preallocation}` : ''} compression_type=zlib size=${size}` +
      `${compat ? ` compat=${compat}` : ''} lazy_refcounts=${lazy} refcount_bits=16\n`

    await t.section('sizes as an argument and as an option', async () => {
      for (const [text, size] of SIZES) {
        t.equal(await create(image.path, text), [0, formatting({ size })], text)
        t.equal(await image.size(), size)
        t.equal(await create('-o', `size=${text}`, image.path), [0, formatting({ size })], `size=${text}`)
      }
    })
    await t.section('sizes that are none', async () => {
      for (const text of ['-1024', '-1k', '1kilobyte', 'foobar']) {
        t.equal(await create(image.path, '--', text), [
          1,
          'qemu-img: Invalid image size specified. You may use k, M, G, T, P or E suffixes for\n' +
            'qemu-img: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.\n',
        ])
        t.equal(await create('-o', `size=${text}`, image.path), [
          1,
          `qemu-img: DIR/t.qcow2: Parameter 'size' expects a non-negative number below 2^64\n${SUFFIXES}`,
        ])
      }
      t.equal(await create('-o', 'size=10M', image.path, '20M'), [
        1,
        'qemu-img: DIR/t.qcow2: The image size must be specified only once\n',
      ])
    })
    const size = 64 * 1024 ** 2
    await t.section('cluster sizes', async () => {
      for (const [text, cluster] of CLUSTERS) {
        t.equal(await create('-o', `cluster_size=${text}`, image.path, '64M'), [
          0,
          formatting({ size, cluster }),
        ])
        t.equal((await image.header()).clusterSize, cluster)
      }
    })
    await t.section('compatibility levels', async () => {
      for (const [compat, version] of [
        ['0.10', 2],
        ['1.1', 3],
      ] as const) {
        t.equal(await create('-o', `compat=${compat}`, image.path, '64M'), [0, formatting({ size, compat })])
        t.equal((await image.header()).version, version)
      }
      for (const compat of ['0.42', 'foobar']) {
        t.equal(await create('-o', `compat=${compat}`, image.path, '64M'), [
          1,
          `${formatting({ size, compat })}qemu-img: DIR/t.qcow2: Parameter 'version' does not accept value '${compat}'\n`,
        ])
      }
    })
    await t.section('preallocation modes', async () => {
      for (const preallocation of ['off', 'metadata']) {
        const option = `preallocation=${preallocation}`
        t.equal(await create('-o', option, image.path, '64M'), [0, formatting({ size, preallocation })])
      }
      t.equal(await create('-o', 'preallocation=1234', image.path, '64M'), [
        1,
        `${formatting({ size, preallocation: '1234' })}qemu-img: DIR/t.qcow2: Parameter 'preallocation' does not accept value '1234'\n`,
      ])
    })
    await t.section('lazy refcounts need version 3', async () => {
      for (const [compat, lazy] of [
        ['1.1', 'off'],
        ['1.1', 'on'],
        ['0.10', 'off'],
      ] as const) {
        t.equal(await create('-o', `compat=${compat},lazy_refcounts=${lazy}`, image.path, '64M'), [
          0,
          formatting({ size, compat, lazy }),
        ])
        t.equal((await image.header()).compatible, lazy === 'on' ? [0] : [])
      }
      t.equal(await create('-o', 'compat=0.10,lazy_refcounts=on', image.path, '64M'), [
        1,
        `${formatting({ size, compat: '0.10', lazy: 'on' })}qemu-img: DIR/t.qcow2: Lazy refcounts only supported with ` +
          'compatibility level 1.1 and above (use version=v3 or greater)\n',
      ])
    })
    await t.section('an empty backing file name', async () => {
      t.equal(await create('-b', '', image.path, '1M'), [
        1,
        'qemu-img: DIR/t.qcow2: Expected backing file name, got empty string\n',
      ])
    })
  },
)
