/** Files of other programs never open as raw disks, whatever drivers an application has; raw disks do. */
import { describe, expect, it, vi } from 'vitest'
import { cow, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory, openMemory } from '../drivers/memory.ts'
import { FOREIGN_FILES, latin1 } from '../testing/foreign-files.ts'
import { nodeOf } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import { openNode } from './open.ts'

/** Formats that show their file. */
const plain = (name: string, score: number) =>
  defineDriver({
    name,
    kind: 'format',
    probe: () => score,
    async open(context) {
      const file = await context.requireChild('file')
      return { size: () => file.size, read: (offset, into) => file.read(offset, into) }
    },
  })

const environmentOf = (...more: ReturnType<typeof plain>[]) => ({
  registry: new DriverRegistry([plain('raw', 1), memory, ...more]),
  host: denyHost,
})

const openBytes = (bytes: Uint8Array, ...more: ReturnType<typeof plain>[]): Promise<BlockNode> =>
  openNode(environmentOf(...more), { file: openMemory(bytes) })

const at = (size: number, ...parts: readonly (readonly [number, string])[]): Uint8Array => {
  const bytes = new Uint8Array(size)
  for (const [offset, text] of parts) bytes.set(latin1(text), offset < 0 ? size + offset : offset)
  return bytes
}

describe('a file of another format', () => {
  it.each(FOREIGN_FILES)(
    'is refused by name where there is no driver for it: %s, %s',
    async (format, _, bytes) => {
      await expect(openBytes(bytes)).rejects.toMatchObject({
        code: 'ENOTSUP',
        message: expect.stringMatching(new RegExp(`'${format}'.*raw`)),
      })
    },
  )

  it.each(FOREIGN_FILES)(
    'is opened by the driver of that name where there is one: %s, %s',
    async (format, _, bytes) => {
      expect((await openBytes(bytes, plain(format, 0))).driver.name).toBe(format)
    },
  )

  it.each(FOREIGN_FILES)('is a disk where that is said: %s, %s', async (_, __, bytes) => {
    const node = await openNode(environmentOf(), { driver: 'raw', file: openMemory(bytes) })
    expect(node.size).toBe(bytes.length)
  })

  it('is named by the file, where that has a name', async () => {
    const named = defineDriver({
      name: 'file',
      kind: 'protocol',
      open: async (): Promise<NodeOps> => ({
        size: () => 512,
        read: async (_, into) => into.set(latin1('KDMV')),
      }),
      options: { filename: { type: 'str', help: '', parse: String } },
    })
    const environment = { registry: new DriverRegistry([plain('raw', 1), named]), host: denyHost }
    await expect(openNode(environment, 'some.img')).rejects.toThrow("'some.img' is a VMDK image")
  })

  it('is refused below an overlay that names no format for it', async () => {
    const overlay = defineDriver({
      ...plain('overlay', 0),
      children: { file: storage, backing: cow },
      async open(context) {
        await context.child('backing')
        const file = await context.requireChild('file')
        return { size: () => file.size, read: (offset, into) => file.read(offset, into) }
      },
    })
    const open = openNode(environmentOf(overlay as never), {
      driver: 'overlay',
      file: openMemory(new Uint8Array(512)),
      backing: { file: openMemory(at(1024, [0, 'vhdxfile'])) },
    })
    await expect(open).rejects.toThrow(/^Could not open backing file: .*VHDX/)
  })

  it('is found by its end alone, whatever its name, and by four letters of it where the name is that of a DMG', async () => {
    const letters = at(4096, [-900, 'koly'])
    expect((await openBytes(letters)).driver.name).toBe('raw')
    const named = nodeOf({
      size: () => 4096,
      read: async (offset, into) => into.set(letters.subarray(offset, offset + into.length)),
    })
    Object.defineProperty(named, 'filename', { value: 'Disk.DMG' })
    await expect(openNode(environmentOf(), { file: named })).rejects.toThrow('dmg')
  })
})

describe('a disk', () => {
  const random = createRandom(7).bytes(1 << 20)
  const ntfs = at(65536, [0, '\xeb\x52\x90NTFS    '], [510, '\x55\xaa'])
  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ...[1, 100, 511, 512, 513, 1000, 1 << 20].map((size): [string, Uint8Array] => [
      `${size} zeroes`,
      new Uint8Array(size),
    ]),
    ...[1, 100, 512, 4097].map((size): [string, Uint8Array] => [
      `${size} bytes`,
      new Uint8Array(size).fill(0x41),
    ]),
    ['random', random],
    ['boot sector', at(1 << 16, [0, '\xeb\x63\x90'], [510, '\x55\xaa'])],
    ['NTFS', ntfs],
    ['FAT floppy', at(1_474_560, [0, '\xeb\x3c\x90mkfs.fat'], [54, 'FAT12   '], [510, '\x55\xaa'])],
    ['GPT', at(1 << 16, [446, '\x00\x00\x02\x00\xee'], [510, '\x55\xaaEFI PART'], [-512, 'EFI PART'])],
    ['ext4', at(1 << 16, [1080, '\x53\xef'])],
    ['ISO 9660', at(1 << 16, [0, '\x33\xed\x90'], [32769, 'CD001\x01'])],
    ['ISO 9660 that starts no machine', at(1 << 16, [32769, 'CD001\x01'], [34817, 'CD001\x01'])],
    ['UDF', at(1 << 17, [32769, 'BEA01\x01'], [34817, 'NSR02\x01'], [36865, 'TEA01\x01'])],
    ['squashfs', at(1 << 16, [0, 'hsqs\x01\0\0\0'], [28, '\x04\0\0\0'])],
    ['squashfs, big endian', at(1 << 16, [0, 'sqsh\0\0\0\x01'])],
    ['Apple partition map', at(1 << 16, [0, 'ER\x02\x00'], [512, 'PM'])],
    ['script', latin1('#!/bin/sh\necho hello\n')],
    ['comments', latin1('# a comment\n# another\nkey=value\n')],
    [
      'signatures elsewhere',
      at(
        8192,
        [1, 'KDMV'],
        [512, 'conectix'],
        [8, 'MComprHD'],
        [65, '\x7f\x10\xda\xbe'],
        [-1536, 'conectix'],
        [-1025, 'koly\0\0\0\x04\0\0\x02\0'],
      ),
    ],
    ['text that looks like compressed data', latin1('BZh is no header, \x1f\x8b neither')],
  ])('is raw: %s', async (_, bytes) => {
    expect((await openBytes(bytes)).driver.name).toBe('raw')
  })
})

it('is read at its end only where raw was guessed, once, and not far', async () => {
  const reads: [number, number][] = []
  const file = (head: string) =>
    nodeOf({
      size: () => 10_000_700,
      async read(offset, into) {
        reads.push([offset, into.length])
        if (offset === 0) into.set(latin1(head))
      },
    })
  await openNode(environmentOf(plain('mine', 50)), { file: file('x') })
  expect(reads.splice(0)).toEqual([[0, 512]])
  await openNode(environmentOf(), { file: file('x') })
  expect(reads).toEqual([
    [0, 512],
    [9_999_360, 1340],
  ])
})

it('is refused where its end cannot be read: a guess would be one', async () => {
  const file = nodeOf({
    size: () => 4096,
    read: async (offset) => {
      if (offset > 0) throw Object.assign(new Error('bad sector'), { code: 'EIO' })
    },
  })
  await expect(openNode(environmentOf(), { file })).rejects.toThrow(
    'Could not read the end of the image for determining its format',
  )
})

it('is refused with one clear error where the code for it cannot be loaded, and opened once a format is named', async () => {
  vi.resetModules()
  vi.doMock('./foreign-formats.ts', () => Promise.reject(new Error('no network')))
  try {
    const core = await import('../index.ts')
    const environment = {
      registry: new core.DriverRegistry([plain('raw', 1), core.memory]),
      host: core.denyHost,
    }
    const options = { file: { driver: 'memory', size: 4096 } }
    await expect(core.openNode(environment, options)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(
        /^The code for recognising formats without a driver could not be loaded/,
      ),
    })
    expect((await core.openNode(environment, { driver: 'raw', ...options })).size).toBe(4096)
  } finally {
    vi.doUnmock('./foreign-formats.ts')
    vi.resetModules()
  }
})
