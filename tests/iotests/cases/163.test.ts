import { iotest } from '../src/harness.ts'
import type { Image } from '../src/image.ts'
import { readHeader } from '../src/qcow2-bytes.ts'
import { seeded } from '../src/random.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** Tables after a shrink: no L1 entry beyond the end, no refcount block without a nonzero refcount. */
async function tablesAreTight(image: Image): Promise<boolean> {
  const { l1Offset, l1Size, size, clusterSize, refcountTableOffset, refcountTableClusters } =
    await readHeader(image.path)
  const covered = (clusterSize * clusterSize) / 8
  const unused = await image.peek(
    l1Offset + Math.ceil(size / covered) * 8,
    Math.max(0, l1Size - Math.ceil(size / covered)) * 8,
  )
  if (unused.some((byte) => byte !== 0)) return false
  const table = await image.peek(refcountTableOffset, refcountTableClusters * clusterSize)
  const view = new DataView(table.buffer)
  for (let at = 0; at < table.length; at += 8) {
    const block = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
    if (block !== 0 && (await image.peek(block, clusterSize)).every((byte) => byte === 0)) return false
  }
  return true
}

iotest(
  '163',
  'shrinking',
  { formats: ['raw', 'qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true, timeout: 60_000 },
  async (t) => {
    const sizes =
      t.format === 'raw'
        ? [{ size: 16 * MIB, small: 2 * MIB, chunk: 2 * MIB, options: {} }]
        : [
            {
              size: 3 * MIB,
              small: MIB,
              chunk: 256 * KIB,
              options: { cluster_size: '512', refcount_bits: '64' },
            },
            { size: 16 * MIB, small: 2 * MIB, chunk: 2 * MIB, options: { cluster_size: '64k' } },
            {
              size: 16 * MIB,
              small: 2 * MIB,
              chunk: 2 * MIB,
              options: { cluster_size: '1M', refcount_bits: '1' },
            },
          ]
    for (const { size, small, chunk, options } of sizes) {
      const chunks = Array.from({ length: size / chunk }, (_, i) => i * chunk)
      const below = seeded(163)
      const shuffled = chunks
        .map((offset) => [below(1 << 30), offset] as const)
        .toSorted((a, b) => a[0] - b[0])
      for (const [about, offsets] of [
        ['empty', []],
        ['filled in order', chunks],
        ['filled in disorder', shuffled.map(([, offset]) => offset)],
      ] as const) {
        await t.section(`${JSON.stringify(options)}, ${about}`, async () => {
          const image = await t.create({ size, options })
          if (offsets.length > 0) await image.io(offsets.map((offset) => `write -P 0xff ${offset} ${chunk}`))

          const refused = await t.img(['resize', '-f', t.format, image.path, String(small)])
          t.equal(refused.code, 1)
          t.match(refused.text, 'Use the --shrink option to perform a shrink operation.')
          t.equal(await image.size(), size)

          const run = await t.img(['resize', '-f', t.format, '--shrink', image.path, String(small)])
          t.equal([run.code, run.text], [0, 'Image resized.\n'])
          t.equal(await image.size(), small)
          await image.io(`read -P ${offsets.length > 0 ? 0xff : 0} 0 ${small}`)
          await image.isSound()
          if (t.format === 'qcow2') t.equal(await tablesAreTight(image), true)
          await image.io([`truncate ${size}`, `read -P 0 ${small} ${size - small}`])
          await image.isSound()
        })
      }
    }
  },
)
