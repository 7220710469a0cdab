/** Volumes of version 2: their data, both copies of the header, and what is refused. */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { open } from './testing/images.ts'
import { DATA, HEADER, headerCopy, type Json, luks2Bytes, luks2File } from './testing/luks2-image.ts'

const SIZE = 32768
const ONE = new TextEncoder().encode('one')
const filled = (value: number, bytes = SIZE): Uint8Array => new Uint8Array(bytes).fill(value)

async function contentOf(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size)
  await node.read(0, bytes)
  return bytes
}

/** A volume, opened with its bytes damaged. */
async function damaged(damage: (bytes: Uint8Array) => void): Promise<BlockNode> {
  const bytes = luks2Bytes(ONE, { size: SIZE })
  damage(bytes)
  return open(openMemory(bytes))
}

describe('a volume', () => {
  it.each([512, 1024, 2048, 4096])('with sectors of %i bytes holds what was written', async (sectorSize) => {
    const file = luks2File('one', { size: SIZE, sectorSize })
    const node = await open(file)
    expect([node.size, node.limits.requestAlignment]).toEqual([SIZE, sectorSize])
    await node.write(0, filled(1))
    await node.write(4000, filled(2, 300))
    await node.close()
    const again = await open(file, { readOnly: true })
    const expected = filled(1)
    expected.fill(2, 4000, 4300)
    expect(await contentOf(again)).toEqual(expected)
    await again.close()
  })

  it('counts sectors from where its header says', async () => {
    const bytes = luks2Bytes(ONE, { size: SIZE })
    const node = await open(openMemory(bytes))
    const plain = await contentOf(node)
    await node.close()
    // The same key, and the first sector has the number of the second.
    const metadata = JSON.parse(new TextDecoder().decode(bytes.subarray(4096, bytes.indexOf(0, 4096))))
    metadata.segments[0].iv_tweak = '1'
    bytes.set(headerCopy(JSON.stringify(metadata), 0, 9n))
    const moved = await open(openMemory(bytes))
    expect((await contentOf(moved)).subarray(0, 512)).toEqual(plain.subarray(512, 1024))
    await moved.close()
  })

  it('has the size that its header says, and does not change it', async () => {
    const file = luks2File('one', { size: SIZE, change: ({ segments }) => (segments[0].size = '8192') })
    const node = await open(file)
    expect(node.size).toBe(8192)
    await expect(node.truncate(16384)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await node.close()
  })

  it('grows with its file', async () => {
    const file = luks2File('one', { size: SIZE, sectorSize: 4096 })
    const node = await open(file)
    await node.truncate(SIZE + 4096)
    expect([node.size, file.size]).toEqual([SIZE + 4096, DATA + SIZE + 4096])
    await node.close()
  })

  it('has its header in another file, if it says so', async () => {
    const header = luks2File('one', { size: 0, isDetached: true })
    const file = openMemory(new Uint8Array(SIZE))
    const node = await open(file, { header })
    await node.write(0, filled(9))
    await node.close()
    const again = await open(file, { header })
    expect(await contentOf(again)).toEqual(filled(9))
    await again.close()
    await expect(open(header)).rejects.toThrow('LUKS payload is overlapping with the header')
  })

  it('opens with its passphrase alone, is described without it, and keeps its key slots', async () => {
    const file = luks2File('one', { size: SIZE })
    await expect(open(file, { 'key-secret': 'two' })).rejects.toThrow('cannot unlock any keyslot')
    const node = await open(file, { 'key-secret': undefined, readOnly: true, noIo: true })
    expect((await node.info()).formatSpecific!.data).toMatchObject({
      version: 2,
      encryption: 'aes-xts-plain64',
      'sector-size': 512,
      slots: [{ keyslot: 0, kdf: 'pbkdf2', iters: 3 }],
    })
    await node.close()
    const before = await toBytes(file)
    const open2 = await open(file)
    await expect(open2.amend({ state: 'inactive', keyslot: 0 })).rejects.toMatchObject({ code: 'ENOTSUP' })
    await open2.close()
    expect(Buffer.compare(await toBytes(file), before)).toBe(0)
  })
})

describe('of both copies of a header', () => {
  it('one is enough', async () => {
    for (const at of [0, 6, 448, 5000, HEADER, HEADER + 448, HEADER + 5000])
      await (await damaged((bytes) => bytes.set([bytes[at]! ^ 1], at))).close()
    await (await damaged((bytes) => void bytes.fill(0, 0, HEADER))).close()
    await expect(
      damaged((bytes) => {
        bytes[5000] = 1
        bytes[HEADER + 5000] = 1
      }),
    ).rejects.toThrow('LUKS2 header has a wrong checksum')
  })

  it('the newer one counts', async () => {
    const bytes = luks2Bytes(ONE, { size: SIZE })
    const metadata = JSON.parse(new TextDecoder().decode(bytes.subarray(4096, bytes.indexOf(0, 4096))))
    metadata.segments[0].size = '4096'
    for (const [sequence, size] of [
      [4n, 4096],
      [2n, SIZE],
    ] as const) {
      const copy = bytes.slice()
      copy.set(headerCopy(JSON.stringify(metadata), HEADER, sequence), HEADER)
      const node = await open(openMemory(copy))
      expect(node.size).toBe(size)
      await node.close()
    }
  })
})

describe('keys by Argon2', () => {
  const argon2 = (type: string, more: Json = {}) => ({ type, time: 2, memory: 64, cpus: 2, ...more })

  // What another implementation derives.
  it.each([
    ['argon2id', '931d8d0d6107b44c8ae8125970e2b38d51d21f6beb506745f2a655f53201e98e'],
    ['argon2i', '5d3d9440720382e863e6d64c6c2cb4b6eb41f30e9431cade4f0b5862a30361ca'],
  ])('%s open the volume, and others do not', async (type, slotKey) => {
    const file = luks2File('one', { size: SIZE, kdf: argon2(type), slotKey })
    await (await open(file)).close()
    await expect(open(file, { 'key-secret': 'two' })).rejects.toThrow('cannot unlock any keyslot')
  })

  it.each([
    [{ memory: 4 * 2 ** 20 + 1 }, 'asks for 4194305 KiB of memory, and no more than 4194304 are used'],
    [{ time: 2 ** 21 }, 'blocks of Argon2, and no more than'],
    [{ cpus: 5 }, 'parameters that Argon2 does not take'],
    [{ cpus: 0 }, 'parameters that Argon2 does not take'],
    [{ memory: 15 }, 'parameters that Argon2 does not take'],
    [{ time: 0 }, 'parameters that Argon2 does not take'],
    [{ salt: 'AAAA' }, 'parameters that Argon2 does not take'],
    [{ memory: -1 }, "has no count 'memory'"],
    [{ memory: 1e300 }, "has no count 'memory'"],
  ])('with %o are refused', async (more, message) => {
    const file = luks2File('one', { size: SIZE, kdf: argon2('argon2id', more) })
    await expect(open(file)).rejects.toThrow(message)
  })
})

describe('metadata', () => {
  it.each<[string, (metadata: Json) => void, string]>([
    ['a requirement', (m) => (m.config.requirements = { mandatory: ['req0'] }), "requirement 'req0' is not"],
    [
      'a reencryption',
      (m) => (m.config.requirements = { mandatory: ['online-reencrypt-v2'] }),
      'the volume is being encrypted anew',
    ],
    ['integrity', (m) => (m.segments[0].integrity = { type: 'hmac(sha256)' }), "integrity 'hmac(sha256)'"],
    ['a linear segment', (m) => (m.segments[0].type = 'linear'), "segment type 'linear' is not supported"],
    ['two segments', (m) => (m.segments[1] = m.segments[0]), 'of several segments are not supported'],
    ['no segment', (m) => (m.segments = {}), 'there is no segment'],
    ['sectors of 8192 bytes', (m) => (m.segments[0].sector_size = 8192), 'sectors of 8192 bytes'],
    ['data in the header', (m) => (m.segments[0].offset = '32768'), 'payload is overlapping with the header'],
    ['data behind the file', (m) => (m.segments[0].offset = '1048576'), 'Could not refresh total sector'],
    [
      'a broken offset',
      (m) => (m.segments[0].offset = '99999999999999999999'),
      "no number of bytes 'offset'",
    ],
    ['a number', (m) => (m.segments[0].offset = 65536), "no number of bytes 'offset'"],
    ['half a sector', (m) => (m.segments[0].offset = '65537'), 'not made of whole sectors'],
    [
      'another cipher',
      (m) => (m.segments[0].encryption = 'serpent-xts-plain64'),
      "'serpent-256' not supported",
    ],
    ['capi', (m) => (m.segments[0].encryption = 'capi:xts(aes)-plain64'), 'Cipher'],
    ['no digest', (m) => (m.digests = {}), 'segment 0 has no digest'],
    ['an empty digest', (m) => (m.digests[0].digest = ''), 'digest 0 is no digest'],
    ['no such slot', (m) => (m.digests[0].keyslots = ['7']), "keyslots has no object '7'"],
    ['no slots', (m) => (m.digests[0].keyslots = []), 'no key slot that can be opened here'],
    ['an unknown derivation', (m) => (m.keyslots[0].kdf.type = 'scrypt'), 'no key slot that can be opened'],
    ['an unknown hash', (m) => (m.keyslots[0].kdf.hash = 'whirlpool'), "'whirlpool' not supported"],
    ['a huge key', (m) => (m.keyslots[0].key_size = 2 ** 40), 'has a key of 1099511627776'],
    ['many stripes', (m) => (m.keyslots[0].af.stripes = 2 ** 31), 'stripes'],
    ['a slot elsewhere', (m) => (m.keyslots[0].area.offset = '0'), 'outside the area of key slots'],
    ['a small area', (m) => (m.keyslots[0].area.size = '64'), 'is larger than its area'],
    ['many iterations', (m) => (m.keyslots[0].kdf.iterations = 2 ** 31), 'iterations of PBKDF2'],
    ['no object', (m) => (m.config = null), "it has no object 'config'"],
  ])('with %s is refused', async (_, change, message) => {
    const file = luks2File('one', { size: SIZE, change: (metadata) => void change(metadata) })
    await expect(open(file)).rejects.toThrow(message)
  })

  it('that is no JSON text is refused', async () => {
    const bytes = luks2Bytes(ONE, { size: SIZE })
    for (const at of [0, HEADER]) bytes.set(headerCopy('{"keyslots"', at, 5n), at)
    await expect(open(openMemory(bytes))).rejects.toThrow('it is no JSON text')
  })

  it('may leave a slot out that is only tried on request', async () => {
    const file = luks2File('one', { size: SIZE, change: ({ keyslots }) => (keyslots[0].priority = 0) })
    await expect(open(file)).rejects.toThrow('cannot unlock any keyslot')
  })
})
