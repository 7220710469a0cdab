import { describe, expect, it } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { findNode } from '../graph/environment.ts'
import { openNode } from '../open/open.ts'
import { runModel } from '../testing/model.ts'
import { blkdebug } from './blkdebug.ts'
import { blkverify, createBlkverify } from './blkverify.ts'
import { memory } from './memory.ts'

const SIZE = 20_000

const environmentOf = (driver: ReturnType<typeof createBlkverify> = blkverify) => ({
  registry: new DriverRegistry([memory, blkdebug, driver]),
  host: denyHost,
})

const disk = (nodeName: string) => ({ driver: 'memory', size: SIZE, nodeName })
const GRAPH = { driver: 'blkverify', raw: disk('raw'), test: disk('test') }

async function open(driver?: ReturnType<typeof createBlkverify>, options: object = GRAPH) {
  const environment = environmentOf(driver)
  const node = await openNode(environment, { discard: 'unmap', ...options } as never)
  return { node, raw: findNode(environment, 'raw'), test: findNode(environment, 'test') }
}

describe('blkverify', () => {
  it.each([1, 2, 3])('is a disk like any other while both disks are alike, seed %i', async (seed) => {
    await runModel({
      seed,
      operations: 80,
      makeNode: async () => (await open()).node,
      discard: 'undefined',
    })
  })

  it('writes to both, zeroes as data, and flushes the one that is tested', async () => {
    const { node, raw, test } = await open()
    await node.write(5, Uint8Array.of(1, 2, 3))
    await node.writeZeroes(6, 1)
    for (const one of [node, raw, test]) {
      const bytes = new Uint8Array(4)
      await one.read(4, bytes)
      expect([...bytes]).toEqual([0, 1, 0, 3])
    }
    expect([node.can('writeZeroes'), node.can('discard'), node.can('writeCompressed')]).toEqual([
      false,
      false,
      false,
    ])
    await node.discard(0, SIZE)
    await node.flush()
    await node.close()
  })

  it('fails a read where the disks differ, and tells which byte', async () => {
    const lines: string[] = []
    const { node, raw } = await open(createBlkverify({ onMismatch: (line) => lines.push(line) }))
    await raw.write(1000, Uint8Array.of(1))
    await node.read(0, new Uint8Array(1000))
    const line = 'blkverify: read offset=900 bytes=512 contents mismatch at offset 1000'
    await expect(node.read(900, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO', message: line })
    expect(lines).toEqual([line])
  })

  it('fails a request that only one disk does, and passes on what both throw', async () => {
    const faulty = (nodeName: string, ...errors: object[]) => ({
      driver: 'blkdebug',
      nodeName,
      image: { driver: 'memory', size: SIZE },
      'inject-error': errors,
    })
    const once = { event: 'none', iotype: 'write', immediately: true }
    const { node } = await open(undefined, {
      ...GRAPH,
      test: faulty('test', { ...once, errno: 28 }),
      raw: faulty('raw', { ...once, errno: 28, sector: 0 }),
    })
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(node.write(512, new Uint8Array(512))).rejects.toThrow(
      'blkverify: write offset=512 bytes=512 return value mismatch -28 != 0',
    )
  })

  it('has the name that opens it again', async () => {
    const environment = environmentOf()
    const plain = { driver: 'memory', size: 512 }
    const node = await openNode(environment, { driver: 'blkverify', raw: plain, test: plain } as never)
    expect(node.filename).toMatch(/^json:\{"test": .*"driver": "blkverify", "raw": /)
    const again = await openNode(environmentOf(), node.filename)
    expect(again.size).toBe(512)
  })

  it.each([
    ['blkverify:a', 'blkverify requires raw copy and original image path'],
    ['blkverify:memory', 'blkverify requires raw copy and original image path'],
    [{ driver: 'blkverify', raw: disk('raw') }, 'A block device must be specified for "test"'],
    [{ driver: 'blkverify', test: disk('test') }, 'A block device must be specified for "raw"'],
    [{ ...GRAPH, foo: 1 }, "Block protocol 'blkverify' doesn't support the option 'foo'"],
    [{ ...GRAPH, test: 5 }, "Invalid parameter type for 'test', expected: object"],
  ])('refuses %j', async (options, message) => {
    await expect(openNode(environmentOf(), options as never)).rejects.toThrow(message)
  })

  it('takes the children of the options, and the name of the image, together', async () => {
    await expect(openNode(environmentOf(), { ...GRAPH, filename: 'x' } as never)).rejects.toThrow()
    expect(() => createBlkverify({ onMismatch: 5 } as never)).toThrow(
      "Parameter 'onMismatch' expects a function",
    )
  })
})
