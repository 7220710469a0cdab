import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'
import { FEATURE_NAMES, readHeader, setFeature, writeExtensions } from '../src/qcow2-bytes.ts'

const KIND = { incompatible: 0, compatible: 1, autoclear: 2 } as const

/** One 48-byte entry of the feature name table; the last may end with its name. */
function feature(kind: keyof typeof KIND, bit: number, name: string): number[] {
  const text = [...new TextEncoder().encode(name)]
  return [KIND[kind], bit, ...text, ...new Array<number>(46 - text.length).fill(0)]
}

iotest(
  '036',
  'unknown feature bits',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'data_file', 'cluster_size=512'],
  },
  async (t) => {
    const named = (image: Image, entries: readonly (readonly number[])[]) =>
      writeExtensions(
        image.path,
        entries.length === 0 ? [] : [{ type: FEATURE_NAMES, data: Uint8Array.from(entries.flat()) }],
      )
    const refusal = async (image: Image): Promise<string> => {
      const run = await t.img(['info', '-f', 'qcow2', image.path])
      t.equal(run.code, 1)
      return t
        .tidy(run.text)
        .replace(/^.*Unsupported qcow2 feature\(s\): /, '')
        .trimEnd()
    }

    await t.section('an unknown incompatible bit is refused by its name', async () => {
      const image = await t.create({ name: 'one.qcow2', size: '64M' })
      await setFeature(image.path, 'incompatible', 63)
      await named(image, [])
      t.equal(await refusal(image), 'Unknown incompatible feature: 8000000000000000')
      await named(image, [feature('incompatible', 63, 'Test feature')])
      t.equal(await refusal(image), 'Test feature')
    })

    await t.section('of several, those without a name are shown as a number', async () => {
      const image = await t.create({ name: 'three.qcow2', size: '64M' })
      for (const bit of [61, 62, 63]) await setFeature(image.path, 'incompatible', bit)
      const tables = [
        [[], 'Unknown incompatible feature: e000000000000000'],
        [[feature('incompatible', 63, 'last')], 'last, Unknown incompatible feature: 6000000000000000'],
        [[feature('incompatible', 61, 'first')], 'first, Unknown incompatible feature: c000000000000000'],
        [
          [feature('incompatible', 61, 'a'), feature('incompatible', 62, 'b')],
          'a, b, Unknown incompatible feature: 8000000000000000',
        ],
        [
          [
            feature('incompatible', 61, 'a'),
            feature('incompatible', 62, 'b'),
            feature('incompatible', 63, 'c'),
          ],
          'a, b, c',
        ],
        [
          // names of other kinds and of bits that are not set are ignored
          [
            feature('compatible', 61, 'a'),
            feature('incompatible', 62, 'b'),
            feature('autoclear', 63, 'c'),
            feature('incompatible', 60, 'd'),
          ],
          'b, Unknown incompatible feature: a000000000000000',
        ],
      ] as const
      for (const [table, message] of tables) {
        await named(image, table)
        t.equal(await refusal(image), message)
      }
    })

    await t.section(
      'unknown compatible bits stay, unknown autoclear bits go with the first change',
      async () => {
        const image = await t.create({ name: 'auto.qcow2', size: '64M' })
        const fresh = await readHeader(image.path)
        await setFeature(image.path, 'autoclear', 63)
        await setFeature(image.path, 'compatible', 42)
        await image.io('read 0 512', { readOnly: true })
        t.equal((await image.header()).autoclear, [63])
        t.equal((await image.check({ repair: 'all' })).code, 0)
        const header = await image.header()
        t.equal(header.autoclear, [])
        t.equal(header.compatible, [...fresh.compatible, 42])
        t.equal(header.extensions, fresh.extensions)
      },
    )
  },
)
