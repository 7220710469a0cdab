/** Images of version 1: what they hold, who opens them, their key slots, and headers that are wrong. */
import { type BlockNode, openMemory, openNode } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { luks } from './driver.ts'
import { createImage, environment, open, QUICK } from './testing/images.ts'

const KIB = 1024
const PAYLOAD = 1032 * 512
const WRONG = { code: 'EINVAL', message: expect.stringContaining('cannot unlock any keyslot') }

async function contentOf(node: BlockNode): Promise<Buffer> {
  const bytes = Buffer.alloc(node.size)
  await node.read(0, bytes)
  return bytes
}

describe('an image', () => {
  it('holds what was written, and nothing of that as it is', async () => {
    const file = await createImage({ size: 64 * KIB })
    const random = createRandom(1)
    const node = await open(file)
    expect(node.size).toBe(64 * KIB)
    const model = random.bytes(64 * KIB)
    await node.write(0, model)
    for (let i = 0; i < 30; i++) {
      const at = random.int(0, 64 * KIB)
      const data = random.bytes(random.int(1, 64 * KIB - at + 1))
      await node.write(at, data)
      model.set(data, at)
    }
    await node.writeZeroes(1000, 5000)
    model.fill(0, 1000, 6000)
    await node.discard(8192, 8192)
    expect(Buffer.compare(await contentOf(node), model)).toBe(0)
    await node.close()
    const raw = Buffer.from(await toBytes(file))
    for (let at = 0; at < model.length; at += 512)
      expect(raw.indexOf(model.subarray(at, at + 64), PAYLOAD)).toBe(-1)
    const again = await open(file, { readOnly: true })
    expect(Buffer.compare(await contentOf(again), model)).toBe(0)
    await again.close()
  })

  it('takes several megabytes in one request', async () => {
    const node = await open(await createImage({ size: '5M' }))
    const data = createRandom(2).bytes(5 * KIB * KIB - 1536)
    await node.write(1024, data)
    const back = new Uint8Array(data.length)
    await node.read(1024, back)
    expect(Buffer.compare(back, data)).toBe(0)
    await node.close()
  })

  it('opens with its secret alone, which may be any bytes', async () => {
    const file = await createImage({ size: 4096, 'key-secret': 'noise' })
    await expect(open(file)).rejects.toMatchObject(WRONG)
    await (await open(file, { 'key-secret': 'noise' })).close()
    await (await open(file, { 'key-secret': undefined, 'encrypt.key-secret': 'noise' })).close()
    await expect(open(file, { 'key-secret': undefined })).rejects.toThrow(
      "Parameter 'key-secret' is required for cipher",
    )
  })

  it('is described without a key, and tells nothing else', async () => {
    const file = await createImage({ size: 4096 })
    const node = await open(file, { 'key-secret': undefined, readOnly: true, noIo: true })
    expect(node.size).toBe(4096)
    expect(await node.info()).toMatchObject({
      encrypted: true,
      formatSpecific: {
        type: 'luks',
        data: { 'cipher-alg': 'aes-128', 'cipher-mode': 'cbc', 'payload-offset': PAYLOAD },
      },
    })
    await expect(node.read(0, new Uint8Array(512))).rejects.toThrow("Parameter 'key-secret' is required")
    await node.close()
  })

  it('has a size of whole sectors', async () => {
    const file = await createImage({ size: 1001 })
    expect(file.size).toBe(PAYLOAD + 1024)
    // QEMU gives a file the very length that was asked for.
    await file.truncate(PAYLOAD + 1001, { exact: true })
    const node = await open(file)
    expect(node.size).toBe(1024)
    await node.write(512, new Uint8Array(512).fill(7))
    expect((await contentOf(node)).subarray(512)).toEqual(Buffer.alloc(512, 7))
    await node.close()
  })

  it('grows and shrinks; zeroes are written where they are asked for', async () => {
    const file = await createImage({ size: 4096 })
    const node = await open(file)
    await node.write(0, new Uint8Array(4096).fill(1))
    await node.truncate(8192)
    expect(file.size).toBe(PAYLOAD + 8192)
    await node.truncate(16384, { zero: true })
    expect((await contentOf(node)).subarray(8192)).toEqual(Buffer.alloc(8192))
    await node.truncate(1024)
    expect(file.size).toBe(PAYLOAD + 1024)
    expect(await contentOf(node)).toEqual(Buffer.alloc(1024, 1))
    await node.close()
  })

  it('is measured with all its data', async () => {
    const { measure } = await luks.creation!()
    const options = { ...QUICK, size: 2 ** 30, preallocation: 'off' } as const
    const all = 2 ** 30 + PAYLOAD
    expect(await measure!({ options: options as never })).toEqual({
      requiredBytes: all,
      fullyAllocatedBytes: all,
    })
    await expect(measure!({ options: { size: 512 } as never })).rejects.toThrow("'key-secret' is required")
  })

  it('is refused, before anything is written, for options that make no sense', async () => {
    for (const [options, message] of [
      [{ size: 512, 'key-secret': undefined }, "Parameter 'key-secret' is required for cipher"],
      [{}, 'Image creation needs a size parameter'],
      [{ size: 512, 'cipher-alg': 'serpent-256', 'cipher-mode': 'xts' }, "'serpent-256' not supported"],
      [{ size: 512, 'hash-alg': 'crc32' }, "Parameter 'hash-alg' does not accept value 'crc32'"],
      [{ size: 2 ** 53 - 513 }, 'The requested file size is too large'],
    ] as const)
      await expect(createImage(options), message).rejects.toThrow(message)
  })
})

describe('a detached header', () => {
  it('is a file of its own, and the data of the other begins at its start', async () => {
    const header = await createImage({ 'detached-header': true })
    expect(header.size).toBe(PAYLOAD)
    const file = openMemory(new Uint8Array(64 * KIB))
    const node = await open(file, { header })
    expect(node.size).toBe(64 * KIB)
    await node.write(512, new Uint8Array(1024).fill(3))
    await node.amend({ state: 'active', 'new-secret': 'two', 'iter-time': 1 })
    await node.close()
    const again = await open(file, { header, 'key-secret': 'two', readOnly: true })
    expect((await contentOf(again)).subarray(512, 1536)).toEqual(Buffer.alloc(1024, 3))
    await again.close()
    expect(file.size).toBe(64 * KIB)
    await expect(open(header)).rejects.toThrow('LUKS payload is overlapping with the header')
  })
})

describe('key slots', () => {
  it('are added and erased, and the disk is used meanwhile', async () => {
    const file = await createImage({ size: 4096 })
    const node = await open(file)
    await node.write(0, new Uint8Array(4096).fill(5))
    await node.amend({ state: 'active', 'new-secret': 'noise', keyslot: 3, 'iter-time': 1 })
    await node.amend({ state: 'inactive', 'old-secret': 'one' })
    expect(await contentOf(node)).toEqual(Buffer.alloc(4096, 5))
    const { formatSpecific } = await node.info()
    const slots = formatSpecific!.data['slots'] as readonly { readonly active: boolean }[]
    expect(slots.flatMap(({ active }, i) => (active ? [i] : []))).toEqual([3])
    await node.close()
    await expect(open(file)).rejects.toMatchObject(WRONG)
    await (await open(file, { 'key-secret': 'noise' })).close()
  })

  it.each([
    [{}, "Parameter 'state' is missing"],
    [{ state: 'x' }, "Parameter 'state' does not accept value 'x'"],
    [{ state: 'active' }, "'new-secret' is required to activate a keyslot"],
    [{ state: 'active', 'new-secret': 'a', 'old-secret': 'b' }, "'old-secret' must not be given"],
    [{ state: 'active', 'new-secret': 'a', keyslot: 9 }, 'Invalid keyslot 9 specified'],
    [{ state: 'active', 'new-secret': 'a', keyslot: 0 }, 'Refusing to overwrite active keyslot 0'],
    [{ state: 'inactive' }, 'To erase keyslot(s), either explicit keyslot index'],
    [{ state: 'inactive', 'new-secret': 'a' }, "'new-secret' must not be given when erasing"],
    [{ state: 'inactive', 'iter-time': 1 }, "'iter-time' must not be given when erasing"],
    [{ state: 'inactive', keyslot: 0 }, 'Attempt to erase the only active keyslot 0'],
    [{ state: 'inactive', 'old-secret': 'one' }, 'All the active keyslots match'],
  ])('are not changed by %o', async (options, message) => {
    const file = await createImage({ size: 512 })
    const before = await toBytes(file)
    const node = await open(file)
    await expect(node.amend(options)).rejects.toThrow(message)
    await node.close()
    expect(Buffer.compare(await toBytes(file), before)).toBe(0)
  })
})

describe('a header', () => {
  it('is recognised, of either version', () => {
    const head = (version: number): Uint8Array => Uint8Array.from([76, 85, 75, 83, 0xba, 0xbe, 0, version])
    expect([0, 1, 2, 3].map((version) => luks.probe!(head(version), ''))).toEqual([0, 100, 100, 0])
    expect(luks.probe!(new Uint8Array(4), '')).toBe(0)
  })

  it.each<[string, (view: DataView, bytes: Uint8Array) => void, string]>([
    ['no magic', (view) => view.setUint8(0, 0), 'Volume is not in LUKS format'],
    ['version 3', (view) => view.setUint16(6, 3), 'LUKS version 3 is not supported'],
    ['an endless cipher', (_, bytes) => bytes.fill(65, 8, 40), 'cipher name is not NUL terminated'],
    ['payload in the header', (view) => view.setUint32(104, 7), 'payload is overlapping with the header'],
    ['payload behind the file', (view) => view.setUint32(104, 99999), 'Could not refresh total sector count'],
    ['no iterations', (view) => view.setUint32(164, 0), 'LUKS key iteration count is zero'],
    ['a key of 5 bytes', (view) => view.setUint32(108, 5), "'aes' with key size 5 bytes not supported"],
    ['stripes', (view) => view.setUint32(208 + 44, 4001), 'Keyslot 0 is corrupted (stripes 4001 != 4000)'],
    ['a state', (view) => view.setUint32(208, 1), 'Keyslot 0 state (active/disable) is corrupted'],
    ['too many iterations', (view) => view.setUint32(212, 0xffff_ffff), 'iterations of PBKDF2'],
    [
      'serpent',
      (_, bytes) => bytes.set(new TextEncoder().encode('serpent'), 8),
      "'serpent-128' not supported",
    ],
  ])('with %s is refused', async (_, breakIt, message) => {
    const bytes = new Uint8Array(await toBytes(await createImage({ size: 512 })))
    breakIt(new DataView(bytes.buffer), bytes)
    const file = openMemory(bytes)
    await expect(open(file)).rejects.toThrow(message)
  })

  it('in a file that ends within it is refused', async () => {
    const bytes = await toBytes(await createImage({ size: 512 }))
    for (const length of [0, 5, 300, 600, PAYLOAD - 512])
      await expect(open(openMemory(bytes.slice(0, length))), String(length)).rejects.toMatchObject({
        name: 'BlockError',
      })
  })

  it('is opened by probing', async () => {
    const file = await createImage({ size: 512 })
    const node = await openNode(environment, { file, 'key-secret': 'one' } as never)
    expect(node.driver.name).toBe('luks')
    await node.close()
  })
})
