/** Damaged LUKS headers: an opening with a key ends in success or in one readable error, soon, and in bounded memory. */
import { BlockError, formatImage, openMemory, openNode, type RawOptions } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { expect, test } from 'vitest'
import { environment as plain } from './src/exercise.ts'

/** HOSTILE_RUNS: number of headers; HOSTILE_SEED: number of the first one. */
const RUNS = Number(process.env['HOSTILE_RUNS'] ?? 150)
const FIRST = Number(process.env['HOSTILE_SEED'] ?? 1)

const HEADER_BYTES = 592
const SLOTS_AT = 208
const SLOT_BYTES = 48
const ACTIVE = 0x00ac_71f3
/** Iterations that a test waits for; those above, and below what is refused, would take what they are worth. */
const PATIENCE = 200_000
const REFUSED = 200_000_000

const environment = { ...plain, secret: async () => new TextEncoder().encode('one') }
const LUKS = {
  'encrypt.format': 'luks',
  'encrypt.key-secret': 's',
  'encrypt.iter-time': 1,
  'encrypt.cipher-alg': 'aes-128',
  'encrypt.cipher-mode': 'cbc',
}

async function soundImage(): Promise<{ readonly bytes: Uint8Array; readonly at: number }> {
  const file = openMemory(new Uint8Array(0))
  const { secret } = environment
  await formatImage(qcow2, file, { size: 65536, cluster_size: 512, ...LUKS } as never, undefined, { secret })
  const bytes = await toBytes(file)
  return { bytes, at: Buffer.from(bytes).indexOf('LUKS') }
}

/** Changes a few bytes of the header, fields as often as single bytes. */
function damage(header: Uint8Array, seed: number): void {
  const random = createRandom(seed)
  const view = new DataView(header.buffer, header.byteOffset)
  for (let i = random.int(1, 4); i > 0; i--) {
    const slot = SLOTS_AT + random.int(0, 8) * SLOT_BYTES
    const field = random.pick([6, 104, 108, 164, slot, slot + 4, slot + 40, slot + 44])
    const value = random.pick([0, 1, 7, 8, 4000, 0xffff_ffff, ACTIVE, random.int(0, 2 ** 32)])
    if (random.chance(0.6)) view.setUint32(Math.min(field, HEADER_BYTES - 4), value)
    else header[random.int(0, HEADER_BYTES)] = random.int(0, 256)
  }
}

/** Iterations that the header asks for, by its own account. */
function asked(header: Uint8Array): number {
  const view = new DataView(header.buffer, header.byteOffset)
  let sum = 0
  for (let slot = 0; slot < 8; slot++) {
    const at = SLOTS_AT + slot * SLOT_BYTES
    if (view.getUint32(at) === ACTIVE) sum += view.getUint32(at + 4) + view.getUint32(164)
  }
  return sum
}

test(`${RUNS} damaged LUKS headers from number ${FIRST} on do no harm`, { timeout: 0 }, async () => {
  const { bytes, at } = await soundImage()
  const ends = new Map<string, number>()
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    const image = bytes.slice()
    const header = image.subarray(at, at + HEADER_BYTES)
    damage(header, seed)
    const iterations = asked(header)
    if (iterations > PATIENCE && iterations <= REFUSED) continue
    const options: RawOptions = { driver: 'qcow2', file: openMemory(image), 'encrypt.key-secret': 's' }
    const disk = await openNode(environment, options as never).catch((error: unknown) => {
      expect(error, `header ${seed}`).toBeInstanceOf(BlockError)
      return undefined
    })
    ends.set(disk ? 'opened' : 'refused', (ends.get(disk ? 'opened' : 'refused') ?? 0) + 1)
    if (!disk) continue
    await disk.read(0, new Uint8Array(65536))
    await disk.write(0, new Uint8Array(512))
    await disk.close()
  }
  console.log(`counted ${[...ends].map(([end, count]) => `${count} ${end}`).join(', ')}`)
  expect(ends.get('refused') ?? 0).toBeGreaterThan(0)
})

test('a header that is cut off, and one that lies behind the end of the file, are refused', async () => {
  const { bytes, at } = await soundImage()
  for (const end of [at, at + 100, at + HEADER_BYTES + 5000]) {
    const options: RawOptions = {
      driver: 'qcow2',
      file: openMemory(bytes.slice(0, end)),
      'encrypt.key-secret': 's',
      'read-only': true,
    }
    await expect(openNode(environment, options as never)).rejects.toBeInstanceOf(BlockError)
  }
  // The length in the extension, which is the first of this header.
  for (const length of [0, 100, HEADER_BYTES, 70_000]) {
    const image = bytes.slice()
    new DataView(image.buffer).setUint32(112 + 8 + 12, length)
    const options: RawOptions = { driver: 'qcow2', file: openMemory(image), 'encrypt.key-secret': 's' }
    const disk = await openNode(environment, options as never).catch((error: unknown) => error)
    if (disk instanceof BlockError)
      expect(disk.message).toContain('Request for data outside of extension header')
    else await (disk as { close(): Promise<void> }).close()
  }
})
