/**
 * Encrypted images pass back and forth: both sides write at random, each reads what the other has written, and the file is
 * laid out alike.
 */
import { type BlockNode, createImage, DriverRegistry, openNode, type RawOptions } from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { createRandom } from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'

const MIB = 2 ** 20
const SIZE = 2 * MIB
const PASSPHRASE = 'naïve, correct horse'

const environment = {
  registry: new DriverRegistry([...formats, file]),
  host: nodeHost(),
  secret: async () => new TextEncoder().encode(PASSPHRASE),
}
const SECRET = ['--object', `secret,id=s,data=${PASSPHRASE.replace(',', ',,')}`]
const KEY = { 'encrypt.key-secret': 's' }

let bench: Bench
beforeEach(() => {
  bench = openBench()
})
afterEach(() => bench.remove())

const imageOpts = (name: string): string => `driver=qcow2,file.filename=${name},encrypt.key-secret=s`

/** QEMU measures how fast it derives keys, and fails if the clock was too coarse. */
function createTheirs(name: string, list: string): void {
  const words = ['create', '-q', ...SECRET, '-f', 'qcow2', '-o', list, name, String(SIZE)]
  for (let tries = 0; tries < 40; tries++) if (bench.attempt('qemu-img', ...words).status === 0) return
  throw new Error(`qemu-img could not create ${name}`)
}

const listOf = (options: RawOptions): string =>
  Object.entries({ ...options, ...KEY })
    .map(([key, value]) => `${key}=${value}`)
    .join(',')

async function createOurs(name: string, options: RawOptions): Promise<void> {
  await createImage(environment, {
    driver: 'qcow2',
    size: SIZE,
    ...options,
    ...KEY,
    file: { driver: 'file', filename: bench.path(name) },
    ...('data_file' in options && {
      dataFile: { driver: 'file', filename: String(options['data_file']) },
    }),
  } as never)
}

const open = (name: string): Promise<BlockNode> =>
  openNode(environment, { driver: 'qcow2', filename: bench.path(name), discard: 'unmap', ...KEY } as never)

/** What each side reads. */
async function contents(name: string): Promise<readonly [ours: Buffer, theirs: Uint8Array]> {
  const disk = await open(name)
  const ours = Buffer.alloc(disk.size)
  await disk.read(0, ours)
  await disk.close()
  bench.run('qemu-img', 'convert', ...SECRET, '--image-opts', '-O', 'raw', imageOpts(name), 'content.raw')
  return [ours, bench.read('content.raw')]
}

const LUKS = { 'encrypt.format': 'luks', 'encrypt.iter-time': 10 }
const KINDS: readonly RawOptions[] = [
  LUKS,
  { ...LUKS, cluster_size: 512 },
  { ...LUKS, cluster_size: 16384, extended_l2: 'on' },
  { ...LUKS, 'encrypt.cipher-alg': 'aes-192', 'encrypt.hash-alg': 'sha512', lazy_refcounts: 'on' },
  {
    ...LUKS,
    'encrypt.cipher-alg': 'aes-128',
    'encrypt.cipher-mode': 'cbc',
    'encrypt.ivgen-alg': 'essiv',
    compat: '0.10',
  },
  { ...LUKS, 'encrypt.cipher-mode': 'cbc', 'encrypt.ivgen-alg': 'plain', 'encrypt.hash-alg': 'sha1' },
  { ...LUKS, 'encrypt.cipher-mode': 'ctr', 'encrypt.hash-alg': 'ripemd160' },
  { ...LUKS, 'encrypt.cipher-mode': 'ecb', 'encrypt.ivgen-hash-alg': 'md5' },
  { ...LUKS, 'encrypt.ivgen-alg': 'essiv' },
  { ...LUKS, data_file: 'data.raw' },
  { 'encrypt.format': 'aes' },
  { 'encrypt.format': 'aes', compat: '0.10', cluster_size: 4096 },
]

describe.skipIf(!haveQemu)('an encrypted image', () => {
  it.each(KINDS)('with %o passes back and forth', async (kind) => {
    const options = { ...kind, ...('data_file' in kind && { data_file: bench.path('data.raw') }) }
    const random = createRandom(JSON.stringify(kind).length)
    for (const maker of ['theirs', 'ours']) {
      const name = `${maker}.qcow2`
      if (maker === 'ours') await createOurs(name, options)
      else createTheirs(name, listOf(options))
      const model = Buffer.alloc(SIZE)
      for (let turn = 0; turn < 2; turn++) {
        const commands: string[] = []
        const disk = turn % 2 === 0 ? await open(name) : undefined
        for (let step = 0; step < 8; step++) {
          const offset = random.int(0, SIZE / 512) * 512
          const bytes = Math.min(random.int(1, random.chance(0.3) ? 500 : 20) * 512, SIZE - offset)
          const value = random.int(1, 256)
          const isZero = random.chance(0.2)
          model.fill(isZero ? 0 : value, offset, offset + bytes)
          commands.push('-c', isZero ? `write -z ${offset} ${bytes}` : `write -P ${value} ${offset} ${bytes}`)
          if (isZero) await disk?.writeZeroes(offset, bytes)
          else await disk?.write(offset, new Uint8Array(bytes).fill(value))
        }
        await disk?.close()
        if (!disk) bench.run('qemu-io', ...SECRET, ...commands, '--image-opts', imageOpts(name))
        const [ours, theirs] = await contents(name)
        expect(Buffer.compare(ours, model)).toBe(0)
        expect(Buffer.compare(theirs, model)).toBe(0)
        bench.run('qemu-img', 'check', ...SECRET, '--image-opts', imageOpts(name))
      }
    }
  })

  it.each([64, 4, 2048])(
    'of LUKS, with clusters of %i KiB, has its parts where QEMU puts them',
    async (kib) => {
      const options = { ...LUKS, cluster_size: kib * 1024 }
      createTheirs('theirs.qcow2', listOf(options))
      await createOurs('ours.qcow2', options)
      const [theirs, ours] = [bench.read('theirs.qcow2'), bench.read('ours.qcow2')]
      expect(ours.length).toBe(theirs.length)
      // Header, extensions, refcounts and L1 table; then what is not random of the LUKS header.
      const at = Number(new DataView(theirs.buffer, theirs.byteOffset).getBigUint64(120))
      expect(Buffer.compare(ours.subarray(0, at), theirs.subarray(0, at))).toBe(0)
      expect(Buffer.compare(ours.subarray(at, at + 112), theirs.subarray(at, at + 112))).toBe(0)
      for (let slot = 1; slot < 8; slot++) {
        const entry = at + 208 + 48 * slot
        expect(Buffer.compare(ours.subarray(entry, entry + 48), theirs.subarray(entry, entry + 48))).toBe(0)
      }
    },
  )

  it('of AES is the same file, byte for byte', async () => {
    createTheirs('theirs.qcow2', listOf({ 'encrypt.format': 'aes' }))
    await createOurs('ours.qcow2', { 'encrypt.format': 'aes' })
    const writes = [
      [0, 65536, 1],
      [100_352, 512, 2],
      [MIB, 200_704, 3],
    ] as const
    const disk = await open('ours.qcow2')
    for (const [offset, bytes, value] of writes) await disk.write(offset, new Uint8Array(bytes).fill(value))
    await disk.close()
    const commands = writes.flatMap(([offset, bytes, value]) => [
      '-c',
      `write -P ${value} ${offset} ${bytes}`,
    ])
    bench.run('qemu-io', ...SECRET, ...commands, '--image-opts', imageOpts('theirs.qcow2'))
    const [theirs, ours] = [bench.read('theirs.qcow2'), bench.read('ours.qcow2')]
    expect(Buffer.compare(ours, theirs)).toBe(0)
  })

  it('has room taken that reads as zeroes', async () => {
    for (const preallocation of ['metadata', 'falloc', 'full']) {
      const name = `${preallocation}.qcow2`
      await createOurs(name, { ...LUKS, preallocation })
      const [ours, theirs] = await contents(name)
      expect(Buffer.compare(ours, Buffer.alloc(SIZE))).toBe(0)
      expect(Buffer.compare(theirs, Buffer.alloc(SIZE))).toBe(0)
    }
  })

  it('with compressed clusters, which QEMU writes as they are, is read', async () => {
    createTheirs('theirs.qcow2', listOf(LUKS))
    bench.run('qemu-io', ...SECRET, '-c', 'write -c -P 5 64k 64k', '--image-opts', imageOpts('theirs.qcow2'))
    const disk = await open('theirs.qcow2')
    await disk.write(65536 + 1000, new Uint8Array(512).fill(6))
    await disk.close()
    const model = Buffer.alloc(SIZE)
      .fill(5, 65536, 131072)
      .fill(6, 66536, 66536 + 512)
    const [ours, theirs] = await contents('theirs.qcow2')
    expect(Buffer.compare(ours, model)).toBe(0)
    expect(Buffer.compare(theirs, model)).toBe(0)
  })

  it('opens with keys that the other side has added, and not with those it has erased', async () => {
    createTheirs('e.qcow2', listOf(LUKS))
    const words = { old: PASSPHRASE, theirs: 'of QEMU', ours: 'of ours' } as const
    const env = {
      ...environment,
      secret: async (id: string) => new TextEncoder().encode(words[id as 'ours']),
    }
    const openWith = (id: string): Promise<BlockNode> =>
      openNode(env, { driver: 'qcow2', filename: bench.path('e.qcow2'), 'encrypt.key-secret': id } as never)
    const opens = async (id: string): Promise<boolean> => {
      const disk = await openWith(id).catch(() => undefined)
      await disk?.close()
      return disk !== undefined
    }
    const theySay = (id: 'old' | 'theirs' | 'ours'): boolean =>
      bench.attempt(
        'qemu-img',
        'check',
        '--object',
        `secret,id=s,data=${words[id].replace(',', ',,')}`,
        '--image-opts',
        imageOpts('e.qcow2'),
      ).status === 0
    const added = [...SECRET, '--object', `secret,id=n,data=${words.theirs}`]
    const amend = ['-o', 'encrypt.state=active,encrypt.new-secret=n,encrypt.iter-time=10,encrypt.keyslot=6']
    for (let tries = 0; tries < 40; tries++)
      if (
        bench.attempt('qemu-img', 'amend', ...added, ...amend, '--image-opts', imageOpts('e.qcow2'))
          .status === 0
      )
        break
    const disk = await openWith('theirs')
    await disk.amend({ encrypt: { state: 'active', newSecret: 'ours', iterTime: 10 } })
    await disk.amend({ encrypt: { state: 'inactive', oldSecret: 'old' } })
    await disk.close()
    expect([await opens('old'), await opens('theirs'), await opens('ours')]).toEqual([false, true, true])
    expect([theySay('old'), theySay('theirs'), theySay('ours')]).toEqual([false, true, true])
  })
})
