/**
 * A guest whose disk was probed as raw never turns it into another format, whatever it does and whatever node
 * is above.
 */
import {
  type BlockNode,
  commitNode,
  copyOnRead,
  DriverRegistry,
  denyHost,
  formatImage,
  isBlockError,
  memory,
  openMemory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import {
  createRandom,
  FOREIGN_FILES,
  latin1,
  nodeOf,
  type Random,
  toBytes,
} from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { describe, expect, test } from 'vitest'

const registry = new DriverRegistry([...formats, memory, copyOnRead])
const environment = { registry, host: denyHost }

const KIB = 2 ** 10
const SIZE = 64 * KIB
/** HOSTILE_RUNS: number of disks, in all. */
const ROUNDS = Math.ceil(Number(process.env['HOSTILE_RUNS'] ?? 200) / 20)

async function headerOf(driver: typeof qcow2 | typeof qed): Promise<Uint8Array> {
  const file = openMemory(new Uint8Array(0))
  await formatImage(driver, file, { size: SIZE, backingFile: '/etc/passwd', backingFmt: 'raw' })
  return (await toBytes(file)).subarray(0, 512)
}
const headers = await Promise.all([headerOf(qcow2), headerOf(qed)])

/** Bytes as a sector of their own: their first 512, or fewer and zeroes. */
const padded = (bytes: Uint8Array): Uint8Array => {
  const sector = new Uint8Array(512)
  sector.set(bytes.subarray(0, 512))
  return sector
}
const HEADS = [...headers, ...FOREIGN_FILES.map(([, , bytes]) => padded(bytes))].filter((head) =>
  head.some((byte) => byte !== 0),
)
const TAILS = FOREIGN_FILES.map(([, , bytes]) => bytes.slice(-1023)).filter((tail) =>
  tail.some((byte) => byte !== 0),
)

/** Returns the format that the guest's disk is probed as next time. */
async function guess(file: BlockNode): Promise<string> {
  const copy = openMemory(await toBytes(file))
  try {
    const node = await openNode(environment, { file: copy, readOnly: true })
    await node.close()
    return node.driver.name
  } catch (error) {
    return String(error)
  }
}

/** A part of a trailer, at the end of the disk or near it. */
function trailer(random: Random, size: number): { readonly at: number; readonly bytes: Uint8Array } {
  const tail = random.pick(TAILS)
  const start = random.pick([0, 0, 1, 100, 508, 511, 512])
  const bytes = tail.slice(Math.min(start, tail.length - 1), random.pick([516, 520, 600, 1023]))
  const at = Math.max(size - tail.length + start + random.pick([0, 0, 0, 1, 511, -1]), 0)
  return { at: Math.min(at, size), bytes: bytes.subarray(0, Math.max(size - at, 0)) }
}

/** A part of a header, at its proper offset or not, aligned or not. */
function part(random: Random): { readonly at: number; readonly bytes: Uint8Array } {
  const header = random.pick(HEADS)
  const start = random.pick([0, 0, 0, 1, 3, 4, 5, 8, 16])
  const end = random.pick([1, 2, 4, 5, 8, 9, 64, 511, 512])
  const piece = header.subarray(Math.min(start, end - 1), end)
  const more = random.chance(0.3) ? random.pick([1, 512, 5000]) : 0
  const bytes = new Uint8Array(piece.length + more).fill(7)
  bytes.set(piece)
  return { at: random.chance(0.9) ? Math.min(start, end - 1) : random.int(0, 600), bytes }
}

/** One random request of the guest. */
async function step(guest: BlockNode, random: Random): Promise<void> {
  const { at, bytes } = random.chance(0.5) ? part(random) : trailer(random, guest.size)
  const last = trailer(random, guest.size)
  const kinds: (() => Promise<unknown>)[] = [
    () => guest.write(at, bytes),
    () => guest.write(at, bytes, { fua: true }),
    () => Promise.all([guest.write(at, bytes), guest.write(0, part(random).bytes)]),
    () => Promise.all([guest.write(at, bytes), guest.write(last.at, last.bytes), guest.writeZeroes(at, 1)]),
    () => Promise.all([guest.write(at, bytes), guest.truncate(random.int(0, 3000))]),
    () => guest.truncate(random.pick([0, 511, 512, 700, 1024, 1535, 2048, SIZE])),
    () => guest.writeZeroes(Math.max(guest.size - random.int(1, 1600), 0), random.int(0, 600)),
    () => guest.discard(Math.max(guest.size - random.int(1, 1600), 0), random.int(0, 600)),
    () => guest.writeZeroes(random.int(0, 16), random.int(1, 600), { mayUnmap: random.chance(0.5) }),
    () => guest.discard(random.int(0, 16), random.int(1, 2000)),
    () => guest.read(0, new Uint8Array(random.int(1, 2000))),
    () => guest.flush(),
  ]
  await random.pick(kinds)()
}

/** Runs an action that may be refused. @returns whether it was */
async function isRefused(action: Promise<unknown>): Promise<boolean> {
  try {
    await action
    return false
  } catch (error) {
    expect(error).toMatchObject({ name: 'BlockError' })
    return isBlockError(error, 'EPERM')
  }
}

const OPTIONS: Readonly<Record<string, RawOptions>> = {
  directly: {},
  'with discard=unmap': { discard: 'unmap' },
  'with detect-zeroes': { discard: 'unmap', detectZeroes: 'unmap' },
}

describe.each(Object.keys(OPTIONS))('%s', (way) => {
  test.each([0, 100, 512, 700, SIZE])('a disk of %d bytes', async (size) => {
    let refusals = 0
    for (let round = 0; round < ROUNDS; round++) {
      const random = createRandom(round)
      const file = openMemory(new Uint8Array(size))
      const guest = await openNode(environment, { file, ...OPTIONS[way] })
      expect(guest.driver.name).toBe('raw')
      for (let i = 0; i < 60; i++) {
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
  const file = openMemory(new Uint8Array(SIZE))
  const guest = await openNode(environment, { driver: 'copy-on-read', file: { file } })
  expect(guest.file?.node.driver.name).toBe('raw')
  expect(await isRefused(guest.write(0, evil!))).toBe(true)
  await guest.close()
  expect(await guess(file)).toBe('raw')
})

test('as the backing file into which an overlay is committed', async () => {
  const [evil] = headers
  const base = openMemory(new Uint8Array(SIZE))
  const image = openMemory(new Uint8Array(0))
  await formatImage(qcow2, image, { size: SIZE })
  const guest = await openNode(environment, { driver: 'qcow2', file: image, backing: { file: base } })
  await guest.write(0, evil!)
  expect(await isRefused(commitNode(guest))).toBe(true)
  expect(await guess(base)).toBe('raw')
  // The disk still shows the overlay's content.
  const into = new Uint8Array(512)
  await guest.read(0, into)
  expect(into).toEqual(evil)
  await guest.close()
})

test('cut off, and longer again', async () => {
  const [evil] = headers
  const file = openMemory(new Uint8Array(SIZE))
  const guest = await openNode(environment, { file })
  await guest.write(4, evil!.subarray(4))
  for (const size of [512, 0, SIZE]) {
    await guest.truncate(size)
    expect(await isRefused(guest.write(0, evil!.subarray(0, 4)))).toBe(size === 512)
    expect(await guess(file)).toBe('raw')
  }
  await guest.close()
})

/** Files of odd sizes would mean something else on a disk of whole sectors; the rounds above cover them. */
const ON_SECTORS = FOREIGN_FILES.filter(
  ([, , bytes]) => bytes.length % 512 === 0 || padded(bytes).some((byte) => byte !== 0),
)

describe.each(ON_SECTORS)('%s, %s', (_, __, bytes) => {
  const isTail = padded(bytes).every((byte) => byte === 0) || bytes[0] === 0x6b
  const content = isTail ? bytes.slice(-1024) : padded(bytes)

  /** A disk, and the offset at which the content makes it another format. */
  async function disk(size = SIZE) {
    const file = openMemory(new Uint8Array(size))
    const guest = await openNode(environment, { file, discard: 'unmap' })
    return { file, guest, at: isTail ? size - content.length : 0 }
  }

  test('is not written, whole or with more around it', async () => {
    const { file, guest, at } = await disk()
    expect(await isRefused(guest.write(at, content))).toBe(true)
    const more = new Uint8Array(isTail ? 8192 : 4096)
    more.set(content, isTail ? more.length - content.length : 0)
    expect(await isRefused(guest.write(isTail ? SIZE - more.length : 0, more, { fua: true }))).toBe(true)
    expect((await toBytes(file)).every((byte) => byte === 0)).toBe(true)
    await guest.close()
  })

  test('is not written bit by bit, in any order, nor by requests at the same time', async () => {
    for (const order of [1, -1]) {
      for (const together of [false, true]) {
        const { file, guest, at } = await disk()
        const starts = Array.from({ length: content.length / 4 }, (_, index) => index * 4)
        if (order < 0) starts.reverse()
        const writes = starts.map(
          (start) => () => isRefused(guest.write(at + start, content.slice(start, start + 4))),
        )
        const refused: boolean[] = []
        if (together) refused.push(...(await Promise.all(writes.map((write) => write()))))
        else for (const write of writes) refused.push(await write())
        expect(refused).toContain(true)
        expect(await guess(file)).toBe('raw')
        await guest.close()
      }
    }
  })

  test('does not become the end, or the beginning, by a resize', async () => {
    const { file, guest } = await disk()
    const start = 8192
    const inner = isTail ? bytes.slice(-1024) : padded(bytes)
    await guest.write(start, inner)
    for (const size of [start + inner.length, start + inner.length + 1, start + inner.length - 1])
      expect(await isRefused(guest.truncate(size))).toBe(await wouldTell(file, size))
    expect(await guess(file)).toBe('raw')
    await guest.close()
  })

  test('is written once raw is named', async () => {
    const file = openMemory(new Uint8Array(SIZE))
    const guest = await openNode(environment, { driver: 'raw', file })
    await guest.write(isTail ? SIZE - content.length : 0, content)
    expect(await guess(file)).not.toBe('raw')
  })
})

/** Whether the file would be another format if it ended at `size`. */
async function wouldTell(file: BlockNode, size: number): Promise<boolean> {
  return (await guess(openMemory((await toBytes(file)).slice(0, size)))) !== 'raw'
}

test('a resize waits for what is being written where the disk will end', async () => {
  const memoryFile = openMemory(new Uint8Array(SIZE))
  const held: (() => void)[] = []
  const slow = nodeOf({
    size: () => memoryFile.size,
    read: (offset, into) => memoryFile.read(offset, into),
    async write(offset, from) {
      await new Promise<void>((resolve) => held.push(resolve))
      await memoryFile.write(offset, from)
    },
    truncate: (size) => memoryFile.truncate(size),
  })
  const guest = await openNode(environment, { file: slow })
  const writing = guest.write(8192 - 512, latin1('conectix'))
  while (held.length === 0) await nextTurn()
  const resizing = isRefused(guest.truncate(8192))
  // Long enough for a resize that does not wait.
  for (let turn = 0; turn < 20; turn++) await nextTurn()
  held[0]!()
  await writing
  expect(await resizing).toBe(true)
  expect(await guess(memoryFile)).toBe('raw')
  await guest.close()
})

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('an ordinary guest is never refused', () => {
  const sectors = (...parts: readonly (readonly [number, string])[]) => {
    const image = new Uint8Array(SIZE)
    for (const [offset, text] of parts) image.set(latin1(text), offset < 0 ? SIZE + offset : offset)
    return image
  }
  const GUESTS: readonly (readonly [string, Uint8Array])[] = [
    ['MBR', sectors([0, '\xeb\x63\x90'], [446, '\x80\x20\x21\0\x83'], [510, '\x55\xaa'])],
    ['GPT and its copy', sectors([446, '\0\0\x02\0\xee'], [510, '\x55\xaaEFI PART'], [-512, 'EFI PART'])],
    ['FAT', sectors([0, '\xeb\x3c\x90mkfs.fat'], [54, 'FAT16   '], [510, '\x55\xaa'])],
    ['ext4', sectors([1080, '\x53\xef'])],
    ['LVM', sectors([512, 'LABELONE'], [536, 'LVM2 001'])],
    ['swap', sectors([4086, 'SWAPSPACE2'])],
    ['md', sectors([4096, '\xfc\x4e\x2b\xa9'])],
    ['random', createRandom(3).bytes(SIZE)],
    ['zeroes', new Uint8Array(SIZE)],
  ]
  test.each(GUESTS)('%s', async (_, image) => {
    const file = openMemory(createRandom(4).bytes(SIZE))
    const guest = await openNode(environment, { file, discard: 'unmap' })
    await guest.discard(0, SIZE)
    for (const step of [512, 4096, SIZE])
      for (let at = 0; at < SIZE; at += step) await guest.write(at, image.subarray(at, at + step))
    for (let at = 0; at < 2048; at += 100) await guest.write(at, image.subarray(at, at + 100))
    for (let at = SIZE - 2048; at < SIZE; at += 64) await guest.write(at, image.subarray(at, at + 64))
    expect(await toBytes(file)).toEqual(image)
    await guest.writeZeroes(0, 2048)
    await guest.writeZeroes(SIZE - 2048, 2048)
    await guest.close()
  })
})
