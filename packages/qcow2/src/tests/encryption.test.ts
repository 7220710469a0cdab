/** Encrypted images: what is written is encrypted where it lies, and reads as it was; rules of opening and creating. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openMemory,
  openNode,
  type RawOptions,
  reopenNode,
} from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it, test } from 'vitest'
import { qcow2 } from '../driver.ts'

const SECRETS: Readonly<Record<string, string | Uint8Array>> = {
  one: 'correct horse',
  other: 'battery staple',
  noise: Uint8Array.of(0xff, 0xfe),
}
const environment = {
  registry: new DriverRegistry([memory, qcow2]),
  host: denyHost,
  async secret(id: string): Promise<Uint8Array> {
    const secret = SECRETS[id]
    if (secret === undefined) throw new Error(`No secret with id '${id}'`)
    return typeof secret === 'string' ? new TextEncoder().encode(secret) : secret
  },
}

const LUKS = { 'encrypt.format': 'luks', 'encrypt.key-secret': 'one', 'encrypt.iter-time': 1 }
const AES = { encryption: true, 'encrypt.key-secret': 'one' }
const KEY = { 'encrypt.key-secret': 'one' }
const MIB = 2 ** 20

const emptyFile = (): Promise<BlockNode> => openNode(environment, { driver: 'memory', size: 0 })

async function create(options: RawOptions, dataFile?: BlockNode): Promise<BlockNode> {
  const file = await emptyFile()
  await formatImage(qcow2, file, { size: MIB, ...options } as never, dataFile)
  return file
}

const open = (file: BlockNode, options: RawOptions = KEY): Promise<BlockNode> =>
  openNode(environment, { driver: 'qcow2', file, ...options } as never)

async function contentOf(disk: BlockNode, offset = 0, bytes = disk.size): Promise<Buffer> {
  const content = Buffer.alloc(bytes)
  await disk.read(offset, content)
  return content
}

/** Where the file holds a copy of these bytes as they are. */
const findIn = async (file: BlockNode, bytes: Uint8Array): Promise<number> =>
  Buffer.from(await toBytes(file)).indexOf(bytes)

const KINDS: readonly (readonly [string, RawOptions])[] = [
  ['LUKS', LUKS],
  ['LUKS, small clusters', { ...LUKS, cluster_size: 512 }],
  ['LUKS, subclusters of a sector', { ...LUKS, cluster_size: 16384, extended_l2: true }],
  [
    'LUKS, aes-128-cbc-essiv',
    { ...LUKS, 'encrypt.cipher-alg': 'aes-128', 'encrypt.cipher-mode': 'cbc', 'encrypt.ivgen-alg': 'essiv' },
  ],
  ['LUKS, version 2', { ...LUKS, compat: '0.10' }],
  ['LUKS, preallocated', { ...LUKS, preallocation: 'metadata' }],
  [
    'LUKS, preallocated subclusters',
    { ...LUKS, preallocation: 'metadata', cluster_size: 16384, extended_l2: true },
  ],
  ['AES', AES],
  ['AES, version 2', { ...AES, compat: '0.10' }],
  ['AES, preallocated', { ...AES, preallocation: 'metadata' }],
]

describe.each(KINDS)('an image of %s', (name, options) => {
  it('holds what random requests leave in it, and nothing of that as it is', async () => {
    const random = createRandom(name.length)
    const file = await create(options)
    const model = Buffer.alloc(MIB)
    let disk = await open(file)
    expect(Buffer.compare(await contentOf(disk), model)).toBe(0)
    for (let step = 0; step < 60; step++) {
      const offset = random.int(0, MIB)
      const bytes = Math.min(1 + random.int(0, random.chance(0.25) ? 200_000 : 5000), MIB - offset)
      switch (random.int(0, 6)) {
        case 0:
          await disk.writeZeroes(offset, bytes, { mayUnmap: random.chance(0.5) })
          model.fill(0, offset, offset + bytes)
          break
        case 1:
          await disk.close()
          disk = await open(file)
          expect(Buffer.compare(await contentOf(disk), model)).toBe(0)
          break
        default: {
          const data = random.bytes(bytes)
          await disk.write(offset, data)
          model.set(data, offset)
          expect(Buffer.compare(await contentOf(disk, offset, bytes), data)).toBe(0)
        }
      }
    }
    expect(Buffer.compare(await contentOf(disk), model)).toBe(0)
    await disk.close()
    const stored = Buffer.from(await toBytes(file))
    for (let at = 0; at < MIB; at += 32768) {
      const sample = model.subarray(at, at + 32)
      if (sample.some((byte) => byte !== 0)) expect(stored.includes(sample)).toBe(false)
    }
    disk = await open(file)
    expect(await disk.check()).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 })
    await disk.close()
  })
})

test('equal data at two places is not equal where it lies', async () => {
  const file = await create(LUKS)
  const disk = await open(file)
  await disk.write(0, new Uint8Array(131072).fill(7))
  await disk.close()
  const bytes = Buffer.from(await toBytes(file))
  const sectors = new Set<string>()
  for (let at = 0x240000; at < bytes.length; at += 512) sectors.add(bytes.toString('hex', at, at + 512))
  expect(sectors.size).toBeGreaterThanOrEqual(256)
})

test('a data file is encrypted by its own offsets', async () => {
  const data = await emptyFile()
  const file = await create({ ...LUKS, data_file: 'x' }, data)
  const disk = await open(file, { ...KEY, 'data-file': data })
  const content = createRandom(1).bytes(100_000)
  await disk.write(12345, content)
  expect(Buffer.compare(await contentOf(disk, 12345, content.length), content)).toBe(0)
  await disk.close()
  expect(await findIn(data, content.subarray(0, 64))).toBe(-1)
})

test('an overlay has a key of its own, and copies what shows through under it', async () => {
  const base = await create({ ...LUKS, 'encrypt.key-secret': 'other' })
  const below = await open(base, { 'encrypt.key-secret': 'other' })
  const old = createRandom(2).bytes(MIB)
  await below.write(0, old)
  await below.close()
  const top = await create(LUKS)
  const backing = { driver: 'qcow2', file: base, 'encrypt.key-secret': 'other' }
  const disk = await open(top, { ...KEY, backing })
  await disk.write(70_000, Buffer.from('new'))
  old.set(Buffer.from('new'), 70_000)
  expect(Buffer.compare(await contentOf(disk), old)).toBe(0)
  await disk.close()
  expect(await findIn(top, old.subarray(66_000, 66_064))).toBe(-1)
})

test('what grows reads as zeroes, with room taken or without, and the VM state may have any length', async () => {
  const file = await create({ ...LUKS, size: 100 * 512 })
  let disk = await open(file)
  await disk.write(0, new Uint8Array(100 * 512).fill(1))
  await disk.truncate(50 * 512)
  await disk.truncate(MIB)
  await disk.truncate(2 * MIB, { preallocation: 'metadata' })
  expect((await contentOf(disk)).subarray(50 * 512).every((byte) => byte === 0)).toBe(true)
  const state = createRandom(3).bytes(1001)
  await disk.writeVmState(13, state)
  await disk.close()
  disk = await open(file)
  const read = new Uint8Array(1001)
  await disk.readVmState(13, read)
  expect(read).toEqual(state)
  expect((await contentOf(disk, 0, 50 * 512)).every((byte) => byte === 1)).toBe(true)
  await disk.close()
  expect(await findIn(file, state.subarray(0, 64))).toBe(-1)
})

test('its status is data without a place, and nothing compressed is written', async () => {
  const file = await create(LUKS)
  const disk = await open(file)
  await disk.write(0, new Uint8Array(65536).fill(1))
  const status = await disk.blockStatus(0, 65536)
  expect(status).toMatchObject({ bytes: 65536, data: true, allocated: true })
  expect(status.host).toBeUndefined()
  expect(disk.limits.requestAlignment).toBe(512)
  await expect(disk.writeCompressed(65536, new Uint8Array(65536))).rejects.toMatchObject({ code: 'ENOTSUP' })
  await disk.close()
})

describe('opening', () => {
  test.each<[string, RawOptions, RawOptions, string]>([
    ['LUKS', LUKS, {}, "Parameter 'encrypt.key-secret' is required for cipher"],
    ['AES', AES, {}, "Parameter 'encrypt.key-secret' is required for cipher"],
    ['LUKS', LUKS, { 'encrypt.key-secret': 'other' }, 'Invalid password, cannot unlock any keyslot'],
    ['LUKS', LUKS, { 'encrypt.key-secret': 'none' }, "No secret with id 'none'"],
    ['LUKS', LUKS, { 'encrypt.key-secret': 'noise' }, 'Data from secret noise is not valid UTF-8'],
    [
      'AES',
      AES,
      { 'encrypt.format': 'luks', ...KEY },
      "Header reported 'aes' encryption format but options specify 'luks'",
    ],
    ['none', {}, KEY, "No encryption in image header, but options specified 'encrypt.key-secret'"],
  ])('an image of %s with %o is refused', async (_, created, options, message) => {
    const file = await create(created)
    await expect(open(file, options)).rejects.toMatchObject({
      code: expect.stringMatching(/^(EINVAL|EIO)$/),
      message: expect.stringContaining(message),
    })
  })

  test('tells no secret, in an error or in its facts', async () => {
    const file = await create(LUKS)
    const error = await open(file, { 'encrypt.key-secret': 'other' }).catch((reason: unknown) => reason)
    const disk = await open(file)
    const told = JSON.stringify([
      String(error),
      error,
      await disk.info(),
      disk.filename,
      Object.entries(disk),
    ])
    for (const secret of ['correct horse', 'battery staple']) expect(told).not.toContain(secret)
    await disk.close()
  })

  test('again does not change the key', async () => {
    const file = await create(AES)
    const disk = await open(file, { 'read-only': true, ...KEY })
    await reopenNode(disk, { readOnly: false })
    await disk.write(0, new Uint8Array(512).fill(3))
    await expect(reopenNode(disk, { options: { 'encrypt.key-secret': 'other' } })).rejects.toThrow(
      'encrypt.key-secret',
    )
    expect((await contentOf(disk, 0, 512))[5]).toBe(3)
    await disk.close()
  })

  test('to be described needs no key', async () => {
    const file = await create(LUKS)
    const disk = await open(file, { 'no-io': true, 'read-only': true })
    expect(await disk.info()).toMatchObject({
      encrypted: true,
      formatSpecific: { data: { encrypt: { format: 'luks' } } },
    })
    await expect(contentOf(disk, 0, 512)).rejects.toThrow('encrypt.key-secret')
    await disk.close()
  })

  test('a wrong key of AES shows noise, and nothing else', async () => {
    const file = await create(AES)
    const disk = await open(file)
    await disk.write(0, new Uint8Array(512).fill(5))
    await disk.close()
    const wrong = await open(file, { 'encrypt.key-secret': 'other' })
    expect((await contentOf(wrong, 0, 512)).every((byte) => byte === 5)).toBe(false)
    await wrong.close()
  })
})

describe('creating', () => {
  test.each<[RawOptions, string, string]>([
    [{ 'encrypt.key-secret': 'one' }, 'EINVAL', "Parameter 'encrypt.format' is missing"],
    [{ 'encrypt.format': 'luks' }, 'EINVAL', "Parameter 'encrypt.key-secret' is required for cipher"],
    [{ encryption: true }, 'EINVAL', "Parameter 'encrypt.key-secret' is required for cipher"],
    [{ 'encrypt.format': 'foo' }, 'EINVAL', "Parameter 'format' does not accept value 'foo'"],
    [
      { ...AES, 'encrypt.format': 'aes' },
      'EINVAL',
      "and its alias 'encryption' can't be used at the same time",
    ],
    [{ ...AES, 'encrypt.iter-time': 1 }, 'EINVAL', "Parameter 'encrypt.iter-time' is unexpected"],
    [{ ...LUKS, 'encrypt.key-secret': 'none' }, 'EIO', "No secret with id 'none'"],
    [{ ...LUKS, 'encrypt.cipher-alg': 'twofish-256' }, 'ENOTSUP', "Algorithm 'twofish-256' not supported"],
    [{ ...AES, compat: 'v2', preallocation: 'metadata' }, 'ENOTSUP', 'Preallocation of encrypted images'],
  ])('with %o is refused, and nothing is written', async (options, _code, message) => {
    const file = await emptyFile()
    await expect(formatImage(qcow2, file, { size: MIB, ...options } as never)).rejects.toThrow(message)
    expect(file.size).toBe(0)
  })

  test('takes secrets from its choices, where a node has no environment', async () => {
    const file = openMemory(new Uint8Array(0))
    await expect(formatImage(qcow2, file, { size: MIB, ...LUKS } as never)).rejects.toThrow('No secret')
    await formatImage(qcow2, file, { size: MIB, ...LUKS } as never, undefined, { secret: environment.secret })
    expect(file.size).toBeGreaterThan(MIB)
  })

  test('is repeated by no other bytes than its keys', async () => {
    const [one, two] = [await create(AES), await create(AES)]
    expect(Buffer.compare(await toBytes(one), await toBytes(two))).toBe(0)
  })
})

describe('amending', () => {
  interface Facts {
    readonly encrypt: { readonly slots: readonly { readonly active: boolean }[] }
  }
  const slots = async (disk: BlockNode): Promise<boolean[]> => {
    const { formatSpecific } = await disk.info()
    return (formatSpecific!.data as unknown as Facts).encrypt.slots.map(({ active }) => active)
  }
  const QUICK = { 'encrypt.iter-time': 1 }

  test('adds and erases keys', async () => {
    const file = await create({ ...LUKS, 'encrypt.cipher-alg': 'aes-128', 'encrypt.cipher-mode': 'cbc' })
    let disk = await open(file)
    await disk.write(0, new Uint8Array(512).fill(9))
    await disk.amend({ 'encrypt.state': 'active', 'encrypt.new-secret': 'other', ...QUICK })
    expect(await slots(disk)).toEqual([true, true, false, false, false, false, false, false])
    await disk.amend({ encrypt: { state: 'inactive', oldSecret: 'one' } })
    expect(await slots(disk)).toEqual([false, true, false, false, false, false, false, false])
    await disk.close()
    await expect(open(file)).rejects.toThrow('Invalid password')
    disk = await open(file, { 'encrypt.key-secret': 'other' })
    expect((await contentOf(disk, 0, 512))[0]).toBe(9)
    await expect(disk.amend({ encrypt: { state: 'inactive', keyslot: 1 } })).rejects.toThrow(
      'the only active keyslot 1',
    )
    const control = { checkpoint: () => undefined, report: () => undefined }
    await disk.amend({ encrypt: { state: 'inactive', keyslot: 1 } }, { ...control, force: true })
    expect(await slots(disk)).toEqual(Array(8).fill(false))
    await disk.close()
  })

  test.each<[RawOptions, RawOptions, string]>([
    [LUKS, { 'encrypt.keyslot': 1 }, "Parameter 'state' is missing"],
    [LUKS, { 'encrypt.state': 'x' }, "Parameter 'state' does not accept value 'x'"],
    [LUKS, { 'encrypt.state': 'active' }, "'new-secret' is required to activate a keyslot"],
    [
      LUKS,
      { 'encrypt.state': 'active', 'encrypt.new-secret': 'one', 'encrypt.old-secret': 'one' },
      "'old-secret' must not be given",
    ],
    [LUKS, { 'encrypt.state': 'inactive', 'encrypt.new-secret': 'one' }, "'new-secret' must not be given"],
    [LUKS, { 'encrypt.state': 'inactive', 'encrypt.iter-time': 1 }, "'iter-time' must not be given"],
    [AES, { 'encrypt.state': 'active' }, 'Only LUKS encryption options can be amended'],
  ])('%o with %o is refused', async (created, options, message) => {
    const file = await create(created)
    const disk = await open(file)
    await expect(disk.amend(options)).rejects.toThrow(message)
    await disk.close()
  })
})

test.each(KINDS)('an image of %s that is emptied still opens with its key', async (_, options) => {
  const file = await create(options)
  const disk = await open(file)
  await disk.write(0, new Uint8Array(MIB).fill(7))
  await disk.makeEmpty()
  await disk.close()
  const again = await open(file)
  await again.write(4096, new Uint8Array(512).fill(9))
  expect((await contentOf(again, 4096, 512)).every((byte) => byte === 9)).toBe(true)
  await again.close()
})
