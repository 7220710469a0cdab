/** Images of qcow version 1: what they hold, what a crash of QEMU leaves, and headers that are wrong. */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { qcow } from './driver.ts'
import { bareImage, createImage, open } from './testing/images.ts'

const KIB = 1024
const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)
const AES = { 'encrypt.format': 'aes', 'encrypt.key-secret': 'one' }
const KEY = { 'encrypt.key-secret': 'one' }

async function contentOf(node: BlockNode, offset = 0, bytes = node.size): Promise<Uint8Array> {
  const content = new Uint8Array(bytes)
  await node.read(offset, content)
  return content
}

describe.each<[string, () => Promise<BlockNode>, object]>([
  ['an image', () => createImage({ size: 256 * KIB }), {}],
  ['an encrypted image', () => createImage({ size: 256 * KIB, ...AES }), KEY],
  ['clusters of 512 bytes', async () => bareImage({ clusterBits: 9, l2Bits: 6, size: 256 * KIB }), {}],
  ['clusters of 64 KiB', async () => bareImage({ clusterBits: 16, l2Bits: 13, size: 250 * KIB }), {}],
])('%s', (name, make, key) => {
  it('holds what random requests leave in it', async () => {
    const random = createRandom(name.length)
    const file = await make()
    let node = await open(file, key)
    const model = new Uint8Array(node.size)
    const clusterSize = (await node.info()).clusterSize!
    for (let i = 0; i < 120; i++) {
      const at = random.int(0, node.size)
      const bytes = random.int(1, Math.min(40 * KIB, node.size - at) + 1)
      const kind = random.int(0, 10)
      if (kind < 5) {
        const data = random.bytes(bytes)
        await node.write(at, data)
        model.set(data, at)
      } else if (kind < 6) {
        await node.writeZeroes(at, bytes)
        model.fill(0, at, at + bytes)
      } else if (kind < 8 && !('encrypt.key-secret' in key)) {
        const start = at - (at % clusterSize)
        const data = filled(i, Math.min(3 * clusterSize, node.size - start))
        await node.writeCompressed(start, data)
        model.set(data, start)
      } else if (kind < 9) await node.flush()
      else if (random.chance(0.3)) {
        await node.close()
        node = await open(file, key)
      }
    }
    expect(Buffer.compare(await contentOf(node), model)).toBe(0)
    await node.close()
    const again = await open(file, { ...key, readOnly: true })
    expect(Buffer.compare(await contentOf(again), model)).toBe(0)
    await again.close()
  })
})

describe('what QEMU does wrong', () => {
  it('a table that a crash cut off is not the place of the next cluster', async () => {
    // L1 entry 0 points at 0x1000, in a file of 560 bytes.
    const rest = new Uint8Array(512)
    new DataView(rest.buffer).setUint32(4, 0x1000)
    const file = bareImage({ clusterBits: 12, l2Bits: 9, size: 10 * KIB * KIB, rest })
    const node = await open(file)
    expect(await contentOf(node, 0, 8192)).toEqual(new Uint8Array(8192))
    await node.write(0, filled(7, 4096))
    await node.write(4096, filled(8, 4096))
    await node.close()
    const again = await open(file, { readOnly: true })
    expect(await contentOf(again, 0, 4096)).toEqual(filled(7, 4096))
    expect(await contentOf(again, 4096, 4096)).toEqual(filled(8, 4096))
    await again.close()
  })

  it('an entry whose cluster a crash cut off does not show the next one', async () => {
    const file = await createImage({ size: 256 * KIB })
    const first = await open(file)
    await first.write(0, filled(1, 4096))
    await first.close()
    // Entry 5 of the table at 4096 points at the end of the file, as QEMU writes it before the data.
    const end = file.size
    await file.write(4096 + 5 * 8 + 4, Uint8Array.of(0, end >> 16, end >> 8, end))
    const node = await open(file)
    expect(await contentOf(node, 5 * 4096, 4096)).toEqual(new Uint8Array(4096))
    await node.write(6 * 4096, filled(6, 4096))
    await node.write(7 * 4096, filled(7, 4096))
    expect(await contentOf(node, 5 * 4096, 4096)).toEqual(new Uint8Array(4096))
    await node.write(5 * 4096, filled(5, 4096))
    for (const i of [5, 6, 7]) expect(await contentOf(node, i * 4096, 4096)).toEqual(filled(i, 4096))
    await node.close()
  })

  it('a write of a part of a cluster keeps what the backing file has in the rest', async () => {
    const backing = openMemory(filled(3, 64 * KIB))
    const node = await open(bareImage({ clusterBits: 16, l2Bits: 6, size: 64 * KIB }), { backing })
    await node.write(512, filled(9, 512))
    const expected = filled(3, 64 * KIB)
    expected.fill(9, 512, 1024)
    expect(await contentOf(node)).toEqual(expected)
    await node.close()
  })

  it('a large image is made of holes, and a larger one that QEMU could not open is refused', async () => {
    await expect(createImage({ size: 2 ** 40 })).resolves.toBeDefined()
    await expect(createImage({ size: 2 ** 50 })).rejects.toThrow('Image too large')
  })
})

describe('an image', () => {
  it('tells what it holds', async () => {
    const file = await createImage({ size: 64 * KIB })
    const node = await open(file)
    await node.write(4096, filled(1, 4096))
    await node.writeCompressed(8192, filled(2, 4096))
    expect(await node.blockStatus(0, 64 * KIB)).toMatchObject({ bytes: 4096, allocated: false, zero: true })
    expect(await node.blockStatus(4096, 4096)).toMatchObject({ data: true, host: { offset: 8192 } })
    expect(await node.blockStatus(8192, 4096)).toMatchObject({ data: true, compressed: true })
    expect(await node.blockStatus(12288, 52 * KIB)).toMatchObject({ bytes: 52 * KIB, allocated: false })
    const before = file.size
    await node.writeZeroes(16384, 8192)
    await node.flush()
    expect(file.size).toBe(before)
    await node.close()
  })

  it('is emptied', async () => {
    const backing = openMemory(filled(3, 64 * KIB))
    const file = await createImage({ size: 64 * KIB, backing_file: 'base' })
    const node = await open(file, { backing })
    await node.write(0, filled(1, 64 * KIB))
    await node.makeEmpty()
    expect(await contentOf(node)).toEqual(filled(3, 64 * KIB))
    expect(file.size).toBeLessThan(KIB)
    await node.write(512, filled(5, 512))
    await node.close()
    const again = await open(file, { backing })
    expect(await contentOf(again, 0, 1536)).toEqual(
      Uint8Array.from([...filled(3, 512), ...filled(5, 512), ...filled(3, 512)]),
    )
    await again.close()
  })

  it('is encrypted by its key alone, and never compressed', async () => {
    const file = await createImage({ size: 64 * KIB, ...AES })
    const node = await open(file, KEY)
    await node.write(0, filled(1, 4096))
    await expect(node.writeCompressed(4096, filled(2, 4096))).rejects.toThrow(
      'Compression and encryption not supported at the same time',
    )
    await node.close()
    expect(Buffer.from(await toBytes(file)).indexOf(filled(1, 32))).toBe(-1)
    const other = await open(file, { 'encrypt.key-secret': 'two' })
    expect(await contentOf(other, 0, 4096)).not.toEqual(filled(1, 4096))
    await other.close()
    const described = await open(file, { readOnly: true, noIo: true })
    expect(await described.info()).toMatchObject({ encrypted: true, clusterSize: 4096 })
    await expect(described.read(0, new Uint8Array(1))).rejects.toThrow('is required for cipher')
    await described.close()
  })

  it('is recognised by magic and version', async () => {
    const bytes = await toBytes(await createImage({ size: 512 }))
    expect(qcow.probe!(bytes, '')).toBe(100)
    bytes[7] = 2
    expect(qcow.probe!(bytes, '')).toBe(0)
    expect(qcow.probe!(bytes.subarray(0, 40), '')).toBe(0)
  })

  it.each<[object, string]>([
    [{}, 'Image creation needs a size parameter'],
    [{ size: 0 }, 'Image size is too small, cannot be zero length'],
    [{ size: 512, backing_file: 'x'.repeat(1024) }, 'Backing file name too long'],
    [{ size: 512, encryption: true }, "Parameter 'encrypt.key-secret' is required for cipher"],
    [{ size: 512, 'encrypt.format': 'luks', ...KEY }, 'Unsupported encryption format'],
    [{ size: 512, 'encrypt.format': 'x', ...KEY }, "does not accept value 'x'"],
    [{ size: 512, encryption: true, ...AES }, "can't be used at the same time"],
    [{ size: 512, ...KEY }, "Parameter 'encrypt.format' is missing"],
    [{ size: 512, ...AES, 'encrypt.key-secret': 'noise' }, 'is not valid UTF-8'],
  ])('is not made of %o', async (options, message) => {
    await expect(createImage(options as never)).rejects.toThrow(message)
  })
})

describe('a header', () => {
  it.each<[string, (view: DataView) => void, string, object?]>([
    ['no magic', (view) => view.setUint8(0, 0), 'Image not in qcow format'],
    ['version 2', (view) => view.setUint32(4, 2), 'does not support qcow version 2'],
    ['no size', (view) => view.setUint32(28, 1), 'Image size is too small (must be at least 2 bytes)'],
    ['a huge size', (view) => view.setUint32(24, 0xffff_ffff), 'Image too large'],
    ['a size whose L1 table is huge', (view) => view.setUint32(24, 0x1fffff), 'Image too large'],
    ['clusters of 256 bytes', (view) => view.setUint8(32, 8), 'Cluster size must be between 512 and 64k'],
    ['clusters of 128 KiB', (view) => view.setUint8(32, 17), 'Cluster size must be between 512 and 64k'],
    ['small tables', (view) => view.setUint8(33, 5), 'L2 table size must be between 512 and 64k'],
    ['large tables', (view) => view.setUint8(33, 14), 'L2 table size must be between 512 and 64k'],
    ['a method', (view) => view.setUint32(36, 2), 'invalid encryption method in qcow header'],
    ['AES', (view) => view.setUint32(36, 1), "'encrypt.key-secret' is required for cipher"],
    [
      'AES, and LUKS',
      (view) => view.setUint32(36, 1),
      "options specify 'luks'",
      { 'encrypt.format': 'luks' },
    ],
    ['no AES', () => undefined, "options specified format 'aes'", AES],
    ['an L1 table in the header', (view) => view.setUint32(44, 0), 'L1 table at 0 is not inside'],
    ['an L1 table behind the file', (view) => view.setUint32(44, 99999), 'L1 table at 99999 is not inside'],
    ['an L1 table far away', (view) => view.setUint32(40, 0xffff_ffff), 'exceeds 2^53-1'],
    ['a long name', (view) => view.setUint32(12, 48) ?? view.setUint32(16, 1024), 'name too long'],
    ['a name elsewhere', (view) => view.setUint32(12, 9999) ?? view.setUint32(16, 9), 'not inside the image'],
  ])('with %s is refused', async (_, breakIt, message, options = {}) => {
    const bytes = new Uint8Array(await toBytes(await createImage({ size: 64 * KIB })))
    breakIt(new DataView(bytes.buffer))
    await expect(open(openMemory(bytes), options)).rejects.toThrow(message)
  })

  it('that is cut off is refused', async () => {
    const bytes = await toBytes(await createImage({ size: 64 * KIB }))
    for (const length of [0, 10, 47]) await expect(open(openMemory(bytes.slice(0, length)))).rejects.toThrow()
  })

  it.each<[string, number, readonly number[]]>([
    ['an L1 entry far behind the file', 48, [0, 0, 0, 1, 0, 0, 0, 0]],
    ['an L1 entry in the header', 48, [0, 0, 0, 0, 0, 0, 0, 16]],
    ['an L2 entry far behind the file', 4096, [0, 16, 0, 0, 0, 0, 0, 0]],
    ['an L2 entry beside sectors', 4096, [0, 0, 0, 0, 0, 0, 32, 1]],
    ['an L2 entry in the L1 table', 4096, [0, 0, 0, 0, 0, 0, 0, 16]],
    ['compressed data without a length', 4096, [0x80, 0, 0, 0, 0, 0, 32, 0]],
    ['compressed data that is none', 4096, [0x80, 0x80, 0, 0, 0, 0, 32, 0]],
    ['compressed data behind the file', 4096, [0x80, 0x81, 0, 0, 1, 0, 0, 0]],
  ])('%s is an error of the request', async (_, at, entry) => {
    const file = await createImage({ size: 64 * KIB })
    const full = await open(file)
    await full.write(0, filled(1, 8192))
    await full.close()
    await file.write(at, Uint8Array.from(entry))
    const node = await open(file)
    await expect(node.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
    await node.close()
  })
})
