/** Damaged LUKS headers: an opening with a key ends in success or in one readable error, soon, and in bounded memory. */
import { BlockError, formatImage, openMemory, openNode, type RawOptions } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { expect, test } from 'vitest'
import { environment } from './src/exercise.ts'
import { ACTIVE, HEADER_BYTES, isQuick, LUKS, luksFields, luksHeaderIn } from './src/luks-header.ts'

/** HOSTILE_RUNS: number of headers; HOSTILE_SEED: number of the first one. */
const RUNS = Number(process.env['HOSTILE_RUNS'] ?? 150)
const FIRST = Number(process.env['HOSTILE_SEED'] ?? 1)

async function soundImage(): Promise<{ readonly bytes: Uint8Array; readonly at: number }> {
  const file = openMemory(new Uint8Array(0))
  const { secret } = environment
  const choices = { size: 65536, cluster_size: 512, ...LUKS }
  await formatImage(qcow2, file, choices as never, undefined, { secret: secret! })
  const bytes = await toBytes(file)
  return { bytes, at: luksHeaderIn(bytes) }
}

/** Changes a few bytes of the header, fields as often as single bytes. */
function damage(header: Uint8Array, seed: number): void {
  const random = createRandom(seed)
  const view = new DataView(header.buffer, header.byteOffset)
  for (let i = random.int(1, 4); i > 0; i--) {
    const field = random.pick(luksFields(random.int(0, 8)))
    const value = random.pick([0, 1, 7, 8, 4000, 0xffff_ffff, ACTIVE, random.int(0, 2 ** 32)])
    if (random.chance(0.6)) view.setUint32(Math.min(field, HEADER_BYTES - 4), value)
    else header[random.int(0, HEADER_BYTES)] = random.int(0, 256)
  }
}

test(`${RUNS} damaged LUKS headers from number ${FIRST} on do no harm`, { timeout: 0 }, async () => {
  const { bytes, at } = await soundImage()
  const ends = new Map<string, number>()
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    const image = bytes.slice()
    const header = image.subarray(at, at + HEADER_BYTES)
    damage(header, seed)
    if (!isQuick(header)) continue
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
