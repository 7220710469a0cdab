import { BlockError, type BlockErrorCode } from '@vmblock/block-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { haveQemu, openBench } from '../../../../tests/support/real-qemu.ts'
import { CLUSTER, headerIn, plainHeader } from '../testing/plain-header.ts'
import { noExtensions } from './extensions.ts'
import { FEATURE_NAMES, findFeatureNames } from './feature-names.ts'
import { Autoclear, Compatible, Incompatible } from './features.ts'
import { HEADER_FIELD, type Header, headerAreaBytes } from './header.ts'
import { serializeHeader } from './serialize-header.ts'

/** Bytes to put at an offset. */
type Patch = readonly [at: number, ...bytes: number[]]

/** The bytes of {@link plainHeader}, with bytes replaced. */
function patched(...patches: readonly Patch[]): Uint8Array {
  const bytes = serializeHeader(plainHeader(), CLUSTER)
  for (const [at, ...patch] of patches) bytes.set(patch, at)
  return bytes
}

const FF = 0xff
const EXTENSIONS = 112

/** Every rule, with a header that breaks it alone (or first), and the message of QEMU 7.2. */
const RULES: readonly {
  readonly message: string
  readonly code?: BlockErrorCode
  readonly patches: readonly Patch[]
}[] = [
  { message: 'Image is not in qcow2 format', code: 'EFORMAT', patches: [[0, 0]] },
  { message: 'Unsupported qcow2 version 1', code: 'ENOTSUP', patches: [[4, 0, 0, 0, 1]] },
  { message: 'Unsupported qcow2 version 4', code: 'ENOTSUP', patches: [[4, 0, 0, 0, 4]] },
  { message: 'Unsupported cluster size: 2^8', patches: [[20, 0, 0, 0, 8]] },
  { message: 'Unsupported cluster size: 2^22', patches: [[20, 0, 0, 0, 22]] },
  { message: 'Unsupported cluster size: 2^4294967295', patches: [[20, FF, FF, FF, FF]] },
  { message: 'qcow2 header too short', patches: [[100, 0, 0, 0, 103]] },
  { message: 'qcow2 header exceeds cluster size', patches: [[100, 0x7f, FF, FF, FF]] },
  { message: 'Invalid backing file offset', patches: [[8, 0, 0, 0, 0, 0, 1, 0, 1]] },
  { message: 'Invalid backing file offset', patches: [[8, FF, FF, FF, FF, FF, FF, FF, FF]] },
  { message: 'qcow2: unknown compression type: 2', code: 'ENOTSUP', patches: [[104, 2]] },
  { message: 'qcow2: Compression type incompatible feature bit must be set', patches: [[104, 1]] },
  { message: 'qcow2: Compression type incompatible feature bit must not be set', patches: [[79, 8]] },
  {
    message: 'Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000020',
    code: 'ENOTSUP',
    patches: [[72, 0x80, 0, 0, 0, 0, 0, 0, 0x20]],
  },
  {
    message: 'Unsupported qcow2 feature(s): dirty bi, Unknown incompatible feature: 40',
    code: 'ENOTSUP',
    // The first row of the table gets another bit, and a name that QEMU does not know.
    patches: [
      [79, 0x61],
      [121, 5],
      [EXTENSIONS + 8 + 2 + 8, 0],
    ],
  },
  {
    message: 'Unsupported subcluster size: 128',
    patches: [
      [79, 0x10],
      [20, 0, 0, 0, 12],
    ],
  },
  {
    message: 'Reference count entry width too large; may not exceed 64 bits',
    patches: [[96, 0, 0, 0, 7]],
  },
  { message: 'Image does not contain a reference count table', patches: [[56, 0, 0, 0, 0]] },
  { message: 'Reference count table too large', code: 'EFBIG', patches: [[56, 0, 0, 0, 129]] },
  { message: 'Reference count table offset invalid', patches: [[48, 0, 0, 0, 0, 0, 1, 2, 0]] },
  { message: 'Reference count table offset invalid', patches: [[48, FF, FF, FF, FF, FF, FF, 0, 0]] },
  { message: 'Snapshot table too large', code: 'EFBIG', patches: [[60, 0, 1, 0, 1]] },
  {
    message: 'Snapshot table offset invalid',
    patches: [
      [60, 0, 0, 0, 1],
      [64, 0, 0, 0, 0, 0, 0, 2, 0],
    ],
  },
  { message: 'Active L1 table too large', code: 'EFBIG', patches: [[36, 0, 0x40, 0, 1]] },
  { message: 'Active L1 table offset invalid', patches: [[40, 0, 0, 0, 0, 0, 3, 2, 0]] },
  { message: 'Active L1 table offset invalid', patches: [[40, 0x7f, FF, FF, FF, FF, FF, FF, FF]] },
  { message: 'Image is too big', code: 'EFBIG', patches: [[24, 0x7f, 0, 0, 0, 0, 0, 0, 0]] },
  { message: 'L1 table is too small', patches: [[36, 0, 0, 0, 0]] },
  { message: 'L1 table is too small', patches: [[24, 0, 0, 0, 0, 0x20, 0, 2, 0]] },
  { message: 'Unsupported encryption method 3', patches: [[32, 0, 0, 0, 3]] },
  { message: 'Header extension too large', patches: [[EXTENSIONS, 1, 2, 3, 4, 0, 1, 0, 0]] },
  { message: 'Header extension too large', patches: [[EXTENSIONS, 1, 2, 3, 4, FF, FF, FF, FF]] },
  { message: 'Header extension too large', patches: [[8, 0, 0, 0, 0, 0, 0, 0, 116]] },
  {
    message: 'ERROR: ext_backing_format: len=16 too large (>=16)',
    patches: [[EXTENSIONS, 0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 16]],
  },
  {
    message: 'CRYPTO header extension only expected with LUKS encryption method',
    patches: [[EXTENSIONS, 0x05, 0x37, 0xbe, 0x77, 0, 0, 0, 16]],
  },
  {
    message: 'CRYPTO header extension size 8, but expected size 16',
    patches: [
      [32, 0, 0, 0, 2],
      [EXTENSIONS, 0x05, 0x37, 0xbe, 0x77, 0, 0, 0, 8],
    ],
  },
  {
    message: "Encryption header offset '512' is not a multiple of cluster size '65536'",
    patches: [
      [32, 0, 0, 0, 2],
      [EXTENSIONS, 0x05, 0x37, 0xbe, 0x77, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 2, 0],
    ],
  },
  {
    message: 'found bitmaps extension with zero bitmaps',
    patches: [
      [95, 1],
      [EXTENSIONS, 0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24, ...new Array(24).fill(0)],
    ],
  },
  {
    message: 'bitmaps_ext: Image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535',
    patches: [
      [95, 1],
      [EXTENSIONS, 0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24, 0, 1, 0, 0, 0, 0, 0, 0],
    ],
  },
  {
    message: 'bitmaps_ext: invalid bitmap directory offset',
    patches: [
      [95, 1],
      [EXTENSIONS, 0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24, 0, 0, 0, 1, ...new Array(18).fill(0), 2, 0],
    ],
  },
  {
    message: 'bitmaps_ext: bitmap directory size (4294967296) exceeds the maximum supported size (67107840)',
    patches: [
      [95, 1],
      [EXTENSIONS, 0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0],
      [EXTENSIONS + 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
  },
  {
    message: 'Backing file name too long',
    patches: [[8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0]],
  },
]

const bench = openBench()
beforeAll(() => {
  if (haveQemu) bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'plain.qcow2', '128M')
})
afterAll(() => bench.remove())

describe('parseHeader', () => {
  it.each(RULES)('refuses with "$message"', async ({ message, code = 'EINVAL', patches }) => {
    const error = await headerIn(patched(...patches)).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(BlockError)
    expect((error as BlockError).message).toBe(message)
    expect((error as BlockError).code).toBe(code)
  })

  it.skipIf(!haveQemu)('has the words of QEMU for every rule', () => {
    for (const { message, patches } of RULES) {
      const image = bench.read('plain.qcow2')
      image.set(patched(...patches))
      bench.write('broken.qcow2', image)
      const { stderr } = bench.attempt('qemu-io', '-f', 'qcow2', '-r', '-c', 'quit', 'broken.qcow2')
      expect(stderr).toBe(`qemu-io: can't open device broken.qcow2: ${message}\n`)
    }
  })

  it('refuses numbers that JavaScript cannot hold, where QEMU would go on', async () => {
    const huge = patched([40, 0x00, 0x40, 0, 0, 0, 0, 0, 0])
    await expect(headerIn(huge)).rejects.toThrow('Active L1 table offset exceeds 2^53-1')
  })

  it('tolerates in check mode what check can repair', async () => {
    const noTable = patched([56, 0, 0, 0, 0])
    expect((await headerIn(noTable, true)).refcountTableClusters).toBe(0)
    const badSnapshots = patched([60, 0, 1, 0, 1], [64, 0, 0, 0, 0, 0, 0, 2, 0])
    expect(await headerIn(badSnapshots, true)).toMatchObject({ nbSnapshots: 65537, snapshotsOffset: 512 })
  })

  it('reads a version 2 header as what it stands for, whatever follows it', async () => {
    const bytes = serializeHeader({ ...plainHeader(), version: 2 }, CLUSTER)
    const header = await headerIn(bytes)
    expect(header).toMatchObject({ version: 2, refcountOrder: 4, incompatible: 0n, headerLength: 72 })
    expect(header.compressionType).toBe('zlib')
  })

  it('reads a file that ends within the header as if zeroes followed', async () => {
    await expect(headerIn(patched().subarray(0, 50))).rejects.toThrow('qcow2 header too short')
    // The last row of the table of names is cut short, and its name is not.
    const unknown = patched([79, 1 << 5], [EXTENSIONS + 8 + 7 * 48, 0, 5]).subarray(0, 500)
    await expect(headerIn(unknown)).rejects.toThrow('Unsupported qcow2 feature(s): raw external data')
  })

  it('drops bitmaps that a writer without bitmaps left stale', async () => {
    const bitmaps = { nbBitmaps: 1, directorySize: 32, directoryOffset: 5 * CLUSTER }
    const header = { ...plainHeader(), extensions: { ...noExtensions(), bitmaps } }
    const stale = await headerIn(serializeHeader(header, CLUSTER))
    expect(stale.extensions).toEqual({ ...noExtensions(), staleBitmaps: true })
    const good = await headerIn(serializeHeader({ ...header, autoclear: Autoclear.bitmaps }, CLUSTER))
    expect(good.extensions).toMatchObject({ bitmaps })
  })

  it('says how much of the file it has to see', () => {
    expect(headerAreaBytes(patched())).toBe(CLUSTER)
    expect(headerAreaBytes(patched([20, 0, 0, 0, 60]))).toBe(512)
    expect(headerAreaBytes(new Uint8Array(512))).toBe(512)
  })
})

describe('serializeHeader', () => {
  const full = (): Header => ({
    ...plainHeader(),
    backingFile: 'back\u00efng file.raw',
    incompatible: Incompatible.dirty | Incompatible.dataFile | Incompatible.compression,
    compatible: Compatible.lazyRefcounts | (1n << 40n),
    autoclear: Autoclear.bitmaps | Autoclear.dataFileRaw | (1n << 63n),
    compressionType: 'zstd',
    refcountOrder: 6,
    unknownFields: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    extensions: {
      backingFormat: 'raw',
      dataFile: 'data.raw',
      bitmaps: { nbBitmaps: 2, directorySize: 100, directoryOffset: 9 * CLUSTER },
      luksHeader: undefined,
      unknown: [
        { type: 0x1234_5678, data: Uint8Array.of(1, 2, 3) },
        { type: 0x9876_5432, data: new Uint8Array(0) },
      ],
    },
  })

  it('keeps everything, known and unknown, through a round trip', async () => {
    const bytes = serializeHeader(full(), CLUSTER)
    const parsed = await headerIn(bytes)
    const { backingFileOffset, headerLength } = parsed
    expect(headerLength).toBe(120)
    expect(parsed).toEqual({ ...full(), backingFileOffset, headerLength })
    expect(serializeHeader(parsed, CLUSTER)).toEqual(bytes)
  })

  it('keeps a name that is not UTF-8', async () => {
    const bytes = serializeHeader({ ...plainHeader(), backingFile: 'caf? \u00e9.raw' }, CLUSTER)
    const at = (await headerIn(bytes)).backingFileOffset!
    bytes[at + 3] = 0xe9 // Latin-1
    const parsed = await headerIn(bytes)
    expect(serializeHeader(parsed, CLUSTER)).toEqual(bytes)
  })

  it('leaves the feature table out of small clusters, and reports what still does not fit as ENOSPC', () => {
    const small = { ...plainHeader(), clusterBits: 9 }
    const room = 512 - 112 - 8
    const bytes = serializeHeader({ ...small, backingFile: 'x'.repeat(room) }, 512)
    expect(bytes.length).toBe(512)
    expect(() => serializeHeader({ ...small, backingFile: 'x'.repeat(room + 1) }, 512)).toThrow(
      expect.objectContaining({ code: 'ENOSPC' }),
    )
  })

  it('puts fields where updates of a single one will look for them', () => {
    const view = new DataView(serializeHeader(full(), CLUSTER).buffer)
    expect(HEADER_FIELD).toMatchObject({ size: 24, l1Size: 36, l1TableOffset: 40, refcountTableOffset: 48 })
    expect(HEADER_FIELD).toMatchObject({ nbSnapshots: 60, incompatible: 72, autoclear: 88 })
    expect(view.getBigUint64(HEADER_FIELD.incompatible)).toBe(full().incompatible)
    expect(view.getBigUint64(HEADER_FIELD.compatible)).toBe(full().compatible)
    expect(view.getBigUint64(HEADER_FIELD.autoclear)).toBe(full().autoclear)
    expect(view.getUint32(HEADER_FIELD.l1Size)).toBe(full().l1Size)
    expect(view.getUint8(HEADER_FIELD.compressionType)).toBe(1)
  })
})

describe.skipIf(!haveQemu)('headers of qemu-img', () => {
  const VARIETIES = [
    [],
    ['-o', 'compat=0.10'],
    ['-o', 'cluster_size=512'],
    ['-o', 'cluster_size=2M,refcount_bits=64,lazy_refcounts=on'],
    ['-o', 'extended_l2=on,compression_type=zstd'],
    ['-o', 'data_file=data.raw,data_file_raw=on'],
    ['-u', '-b', 'b\u00e4se.raw', '-F', 'raw'],
  ] as const

  it.each(VARIETIES.map((options) => [options.join(' '), options] as const))(
    'are read, and written back as they were: %s',
    async (_, options) => {
      bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', ...options, 'image.qcow2', '64M')
      const image = bench.read('image.qcow2')
      const header = await headerIn(image)
      const bytes = serializeHeader(header, 2 ** header.clusterBits)
      expect(bytes).toEqual(image.slice(0, bytes.length))
      expect(header.size).toBe(64 * 2 ** 20)
      const hasNames = header.version === 3 && header.clusterBits > 12
      const names = findFeatureNames(
        image,
        header.headerLength,
        header.backingFileOffset ?? 2 ** header.clusterBits,
      )
      expect(names).toEqual(hasNames ? FEATURE_NAMES : [])
    },
  )

  it('hold the bitmaps extension as it is read here', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'image.qcow2', '64M')
    bench.run('qemu-img', 'bitmap', '--add', 'image.qcow2', 'first')
    const image = bench.read('image.qcow2')
    const header = await headerIn(image)
    expect(header.extensions.bitmaps).toMatchObject({ nbBitmaps: 1, directorySize: 32 })
    // Ours comes first, in the sector of the fields that change with it.
    const again = await headerIn(serializeHeader(header, CLUSTER))
    expect(again).toEqual({ ...header, headerLength: again.headerLength })
    // What QEMU has put into the second sector stays until the first leads elsewhere.
    expect(serializeHeader(header, CLUSTER, true)).toHaveLength(512)
  })
})

describe('a header that gets bitmaps, or loses them', () => {
  const bitmaps = { nbBitmaps: 3, directorySize: 96, directoryOffset: 5 * CLUSTER }
  const named = { backingFile: 'b'.repeat(600), extensions: { ...noExtensions(), backingFormat: 'qcow2' } }

  it.each([
    ['alone', {}],
    ['with a backing file', named],
  ])('%s, is the old or the new one, however the write is torn', async (_, fields) => {
    const bare = { ...plainHeader(), unknownFields: new Uint8Array(0), ...fields }
    const without = await headerIn(serializeHeader(bare, CLUSTER))
    const withThem = (directoryOffset: number): Header => ({
      ...without,
      autoclear: without.autoclear | Autoclear.bitmaps,
      extensions: { ...without.extensions, bitmaps: { ...bitmaps, directoryOffset } },
    })
    const steps = [
      withThem(5 * CLUSTER),
      withThem(9 * CLUSTER),
      { ...withThem(9 * CLUSTER), autoclear: without.autoclear },
      without,
    ]
    const facts = async (bytes: Uint8Array) => {
      const { extensions, backingFile, size } = await headerIn(bytes)
      return { bitmaps: extensions.bitmaps, backingFile, size }
    }
    let before = serializeHeader(without, CLUSTER)
    for (const step of steps) {
      const written = serializeHeader(step, CLUSTER, true)
      const all = before.slice()
      all.set(written)
      for (const [first, second] of [
        [before, all],
        [all, before],
      ] as const) {
        const torn = second.slice()
        torn.set(first.subarray(0, 512))
        expect(await facts(torn)).toEqual(await facts(first))
      }
      before = all
    }
  })
})
