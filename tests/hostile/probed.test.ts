/** A guest whose disk was guessed to be raw never makes another format of it, whatever it does and whatever is above. */
import {
  type BlockNode,
  commitNode,
  copyOnRead,
  DriverRegistry,
  denyHost,
  formatImage,
  isBlockError,
  memory,
  memoryFromBytes,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { createRandom, type Random, toBytes } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'
import { describe, expect, test } from 'vitest'

const registry = new DriverRegistry([raw, qcow2, qed, memory, copyOnRead])
const environment = { registry, host: denyHost }

const KIB = 2 ** 10
const SIZE = 64 * KIB
/** HOSTILE_RUNS: how many disks, in all. */
const ROUNDS = Math.ceil(Number(process.env['HOSTILE_RUNS'] ?? 200) / 20)

async function headerOf(driver: typeof qcow2 | typeof qed): Promise<Uint8Array> {
  const file = memoryFromBytes(new Uint8Array(0))
  await formatImage(driver, file, { size: SIZE, backing_file: '/etc/passwd', backing_fmt: 'raw' })
  return (await toBytes(file)).subarray(0, 512)
}
const headers = await Promise.all([headerOf(qcow2), headerOf(qed)])

/** What lies on the guest's disk. */
const guess = async (file: BlockNode): Promise<string> =>
  registry.probe((await toBytes(file)).subarray(0, 512), '').name

/** A part of a header, where it belongs or not, aligned or not. */
function part(random: Random): { readonly at: number; readonly bytes: Uint8Array } {
  const header = random.pick(headers)
  const start = random.pick([0, 0, 0, 1, 3, 4, 5, 8, 16])
  const end = random.pick([1, 2, 4, 5, 8, 9, 64, 511, 512])
  const piece = header.subarray(Math.min(start, end - 1), end)
  const more = random.chance(0.3) ? random.pick([1, 512, 5000]) : 0
  const bytes = new Uint8Array(piece.length + more).fill(7)
  bytes.set(piece)
  return { at: random.chance(0.9) ? Math.min(start, end - 1) : random.int(0, 600), bytes }
}

/** Anything that a guest may do. */
async function step(guest: BlockNode, random: Random): Promise<void> {
  const { at, bytes } = part(random)
  const kinds: (() => Promise<unknown>)[] = [
    () => guest.write(at, bytes),
    () => guest.write(at, bytes, { fua: true }),
    () => Promise.all([guest.write(at, bytes), guest.write(0, part(random).bytes)]),
    () => guest.writeZeroes(random.int(0, 16), random.int(1, 600), { mayUnmap: random.chance(0.5) }),
    () => guest.discard(random.int(0, 16), random.int(1, 2000)),
    () => guest.read(0, new Uint8Array(random.int(1, 2000))),
    () => guest.flush(),
  ]
  await random.pick(kinds)()
}

/** Does what may be refused. @returns whether it was */
async function isRefused(action: Promise<unknown>): Promise<boolean> {
  try {
    await action
    return false
  } catch (error) {
    expect(error).toMatchObject({ name: 'BlockError' })
    return isBlockError(error, 'EPERM')
  }
}

const PLACES: Readonly<Record<string, RawOptions>> = {
  directly: {},
  'with discard=unmap': { discard: 'unmap' },
  'with detect-zeroes': { discard: 'unmap', 'detect-zeroes': 'unmap' },
}

describe.each(Object.keys(PLACES))('%s', (way) => {
  test.each([0, 100, 512, 700, SIZE])('a disk of %d bytes', async (size) => {
    let refusals = 0
    for (let round = 0; round < ROUNDS; round++) {
      const random = createRandom(round)
      const file = memoryFromBytes(new Uint8Array(size))
      const guest = await openNode(environment, { file, ...PLACES[way] })
      expect(guest.driver.name).toBe('raw')
      for (let i = 0; i < 30; i++) {
        if (await isRefused(step(guest, random))) refusals++
        expect([round, i, await guess(file)]).toEqual([round, i, 'raw'])
      }
      await guest.close()
    }
    if (size > 0) expect(refusals).toBeGreaterThan(0)
  })
})

test('below a filter that copies what is read', async () => {
  const [evil] = headers
  const file = memoryFromBytes(new Uint8Array(SIZE))
  const guest = await openNode(environment, { driver: 'copy-on-read', file: { file } })
  expect(guest.file?.node.driver.name).toBe('raw')
  expect(await isRefused(guest.write(0, evil!))).toBe(true)
  await guest.close()
  expect(await guess(file)).toBe('raw')
})

test('as the backing file into which an overlay is committed', async () => {
  const [evil] = headers
  const base = memoryFromBytes(new Uint8Array(SIZE))
  const image = memoryFromBytes(new Uint8Array(0))
  await formatImage(qcow2, image, { size: SIZE })
  const guest = await openNode(environment, { driver: 'qcow2', file: image, backing: { file: base } })
  await guest.write(0, evil!)
  expect(await isRefused(commitNode(guest))).toBe(true)
  expect(await guess(base)).toBe('raw')
  // The content is still the overlay's.
  const into = new Uint8Array(512)
  await guest.read(0, into)
  expect(into).toEqual(evil)
  await guest.close()
})

test('cut off, and longer again', async () => {
  const [evil] = headers
  const file = memoryFromBytes(new Uint8Array(SIZE))
  const guest = await openNode(environment, { file })
  await guest.write(4, evil!.subarray(4))
  for (const size of [512, 0, SIZE]) {
    await guest.truncate(size)
    expect(await isRefused(guest.write(0, evil!.subarray(0, 4)))).toBe(size === 512)
    expect(await guess(file)).toBe('raw')
  }
  await guest.close()
})
