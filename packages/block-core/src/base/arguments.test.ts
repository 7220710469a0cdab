import { inspect } from 'node:util'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { setPermissions } from '../disk/permissions.ts'
import { memory, openMemory } from '../drivers/memory.ts'
import { chainStatus } from '../graph/block-status.ts'
import { commitNode } from '../jobs/commit.ts'
import { copyNodes } from '../jobs/copy.ts'
import { CopyMap } from '../jobs/copy-map.ts'
import { Job } from '../jobs/job.ts'
import { formatImage } from '../open/format-image.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'

const env = { registry: new DriverRegistry([memory]), host: denyHost }
const SIZE = 65536

const open = (): Promise<BlockNode> => openNode(env, { driver: 'memory', size: SIZE })

/** Any method, with any arguments, as callers without TypeScript see it. */
// biome-ignore lint/suspicious/noExplicitAny: wrong types are the point
type Anything = any

function transferred(): Uint8Array {
  const bytes = new Uint8Array(8)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

const NO_BYTES = {
  'a string': 'hello',
  'a list': [1, 2, 3],
  'a number': 512,
  undefined: undefined,
  null: null,
  'a forged buffer': { [Symbol.toStringTag]: 'ArrayBuffer', byteLength: 8, length: 8 },
  'what was transferred': transferred(),
  'a buffer that was transferred': transferred().buffer,
} as const
const NO_NUMBERS = ['0', 0n, null, undefined, [0], {}, new Date(0)]
const NO_LENGTHS = [...NO_NUMBERS, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]

/** Bytes 1, 2, 3, ... in memory of every kind; views begin 4 bytes into their memory. */
const BYTES: Readonly<Record<string, () => ArrayBufferView | ArrayBufferLike>> = {
  Uint8Array: () => new Uint8Array(8),
  Buffer: () => Buffer.from(new ArrayBuffer(16), 4, 8),
  DataView: () => new DataView(new ArrayBuffer(16), 4, 8),
  Uint32Array: () => new Uint32Array(new ArrayBuffer(16), 4, 2),
  Float64Array: () => new Float64Array(1),
  ArrayBuffer: () => new ArrayBuffer(8),
  SharedArrayBuffer: () => new SharedArrayBuffer(8),
  'a view of shared memory': () => new Uint16Array(new SharedArrayBuffer(16), 4, 4),
  'a view of another realm': () => runInNewContext('new Uint8Array(new ArrayBuffer(16), 4, 8)'),
  'a buffer of another realm': () => runInNewContext('new ArrayBuffer(8)'),
}

const plain = (bytes: ArrayBufferView | ArrayBufferLike): Uint8Array =>
  'byteOffset' in bytes
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes)

const refused = async (run: () => unknown, name: string): Promise<void> => {
  await expect((async () => run())()).rejects.toMatchObject({
    code: 'EINVAL',
    message: expect.stringContaining(`'${name}'`),
  })
}

describe('bytes', () => {
  it.each(Object.keys(BYTES))('are %s, written and filled in its place', async (kind) => {
    const node = await open()
    const from = BYTES[kind]!()
    plain(from).set([1, 2, 3, 4, 5, 6, 7, 8])
    await node.write(100, from)
    const into = BYTES[kind]!()
    await node.read(99, into)
    expect([...plain(into)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    const around = 'byteOffset' in into ? new Uint8Array(into.buffer) : plain(into)
    expect(around.reduce((sum, byte) => sum + byte, 0)).toBe(28)
    expect(openMemory(from).size).toBe(8)
  })

  it.each(Object.keys(NO_BYTES))('are not %s', async (kind) => {
    const node: Anything = await open()
    const value = NO_BYTES[kind as keyof typeof NO_BYTES]
    await refused(() => node.write(0, value), 'from')
    await refused(() => node.read(0, value), 'into')
    await refused(() => node.writeCompressed(0, value), 'from')
    await refused(() => node.readVmState(0, value), 'into')
    await refused(() => node.writeVmState(0, value), 'from')
    await refused(() => openMemory(value as Anything), 'bytes')
  })

  it('say how to read, where a length was given', async () => {
    const node: Anything = await open()
    await expect(node.read(0, 512)).rejects.toThrow("'into' expects bytes")
    await expect(node.read(0, 512)).rejects.toThrow('new Uint8Array(512)')
  })

  it('that go away during the request make it fail', async () => {
    const node = await open()
    const bytes = new Uint8Array(8).fill(1)
    let writing: Promise<void> | undefined
    await node.withoutWrites(async () => {
      writing = node.write(0, bytes)
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
    })
    await expect(writing).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining("'from'"),
    })
  })
})

describe('numbers', () => {
  it.each(NO_NUMBERS.map((value) => [inspect(value), value]))('are not %s', async (_, value) => {
    const node: Anything = await open()
    const eight = new Uint8Array(8)
    for (const method of ['read', 'write', 'writeCompressed', 'readVmState', 'writeVmState'])
      await expect(node[method](value, eight), method).rejects.toMatchObject({ code: 'EINVAL' })
    for (const method of ['writeZeroes', 'discard', 'blockStatus'])
      await refused(() => node[method](value, 8), 'offset')
    await refused(() => node.copyRange(0, 8, node, value), 'sourceOffset')
  })

  it.each(NO_LENGTHS.map((value) => [inspect(value), value]))('are no lengths as %s', async (_, value) => {
    const node: Anything = await open()
    await node.write(0, new Uint8Array(16).fill(7))
    for (const method of ['writeZeroes', 'discard', 'blockStatus'])
      await refused(() => node[method](0, value), 'bytes')
    await refused(() => chainStatus(node, 0, value as Anything), 'bytes')
    await expect(node.truncate(value)).rejects.toMatchObject({ code: 'EINVAL' })
    const into = new Uint8Array(16)
    await node.read(0, into)
    expect([...new Set(into), node.size]).toEqual([7, SIZE])
  })

  it.each([-1, 0.5, Number.NaN, 2 ** 53])('that are no offsets are outside: %s', async (offset) => {
    const node = await open()
    await expect(node.read(offset, new Uint8Array(8))).rejects.toMatchObject({ code: 'EIO' })
    await expect(node.writeZeroes(offset, 8)).rejects.toMatchObject({ code: 'EIO' })
    await expect(node.blockStatus(offset, 8)).rejects.toMatchObject({ code: 'EIO' })
  })
})

describe('options', () => {
  it.each<[string, (node: Anything) => unknown]>([
    ['FUA', (node) => node.write(0, new Uint8Array(1), { FUA: true })],
    ['fua', (node) => node.write(0, new Uint8Array(1), { fua: 'false' })],
    ['fua', (node) => node.writeZeroes(0, 1, { fua: 1 })],
    ['flags', (node) => node.write(0, new Uint8Array(1), null)],
    ['flags', (node) => node.write(0, new Uint8Array(1), new Map([['fua', true]]))],
    ['repar', (node) => node.check({ repar: 'all' })],
    ['report', (node) => node.check({ report: 'console' })],
    ['options', (node) => node.check('all')],
    ['preallocation', (node) => node.truncate(5, { preallocation: 'ful' })],
    ['zero', (node) => node.truncate(5, { zero: 1 })],
    ['options', (node) => node.amend('compat=1.1')],
    ['control', (node) => node.amend({}, 5)],
    ['control', (node) => node.check({}, {})],
    ['filename', (node) => node.changeBackingFile(undefined)],
    ['format', (node) => node.changeBackingFile('a', 5)],
    ['source', (node) => node.copyRange(0, 5, {}, 0)],
    ['body', (node) => node.drained()],
    ['body', (node) => node.withoutWrites('x')],
    ['readOnly', (node) => reopenNode(node, { readOnly: 'false' } as Anything)],
    ['readonly', (node) => reopenNode(node, { readonly: true } as Anything)],
    ['writeback', (node) => reopenNode(node, { cache: { writeback: true } } as Anything)],
    ['node', () => reopenNode({} as Anything, {})],
    ['top', () => commitNode({} as Anything)],
    ['makeEmpty', (node) => commitNode(node, { makeEmpty: 'no' } as Anything)],
    ['rate', (node) => commitNode(node, { rate: -1 })],
    ['taken', (node) => setPermissions(node, { taken: 16 })],
    ['base', (node) => chainStatus(node, 0, 5, {} as Anything)],
    ['file', () => formatImage(memory, {} as Anything, {})],
    ['options', (node) => formatImage(memory, node, undefined as Anything)],
    ['driver', (node) => formatImage(undefined as Anything, node, {})],
    ['driver', () => new DriverRegistry([undefined as Anything])],
    ['drivers', () => new DriverRegistry(undefined as Anything)],
    ['environment', () => openNode(undefined as Anything, {})],
    ['registry', () => openNode({ host: denyHost } as Anything, {})],
    ['host', () => openNode({ registry: env.registry } as Anything, {})],
    ['onWarn', () => openNode({ ...env, onWarn: 5 } as Anything, {})],
    ['options', () => openNode(env, undefined as Anything)],
    ['options', () => openNode(env, new Uint8Array(5) as Anything)],
    ['size', () => openNode(env, { driver: 'memory', size: Number.NaN })],
    ['size', () => openNode(env, { driver: 'memory', size: 5n as Anything })],
    ['readonly', () => openMemory(new Uint8Array(1), { readonly: true } as Anything)],
    ['parallel', (node) => copy(node, { parallel: 0 })],
    ['parallel', (node) => copy(node, { parallel: Number.NaN })],
    ['pieceBytes', (node) => copy(node, { pieceBytes: 0 })],
    ['zeroes', (node) => copy(node, { zeroes: 'skp' })],
    ['signal', () => new Job(async () => undefined, { signal: {} as Anything })],
    ['operation', () => new Job(5 as Anything)],
    ['onProgress', () => new Job(async () => undefined, { onProgress: 5 as Anything })],
    ['target', (node) => copy(node, { target: {} })],
    ['sources', () => CopyMap.of({ sources: {} } as Anything)],
    ['node', () => CopyMap.of({ sources: [{ node: {} }] } as Anything)],
  ])('%s is refused by its name (%#)', async (name, run) => {
    const node = await open()
    await refused(() => run(node), name)
  })

  it('are checked on nodes that are closed, too', async () => {
    const node: Anything = await open()
    await node.close()
    await refused(() => node.read(0, 512), 'into')
    await refused(() => node.write(0n, new Uint8Array(1)), 'offset')
    await refused(() => node.check({ repair: 'al' }), 'repair')
  })

  it('of other realms are options', async () => {
    const node = await open()
    await node.write(0, new Uint8Array(1), runInNewContext('({ fua: true })'))
    const other = await openNode(env, runInNewContext('({ driver: "memory", size: 512 })'))
    expect(other.size).toBe(512)
  })

  it('do not fill a message', async () => {
    const long = new Array(100_000).fill(1)
    for (const run of [
      () => openNode(env, { driver: 'memory', size: long as Anything }),
      () => openNode(env, { driver: 'memory', size: 'x'.repeat(100_000) }),
      async () => ((await open()) as Anything).write(0, long),
      async () => ((await open()) as Anything).check({ repair: 'x'.repeat(100_000) }),
    ]) {
      const error = await run().catch((error: unknown) => error as Error)
      expect((error as Error).message.length).toBeLessThan(500)
    }
  })
})

const copy = async (node: BlockNode, options: object): Promise<void> => {
  const map = await CopyMap.of({ sources: [{ node }] })
  await copyNodes({ map, target: await open(), ...options } as Anything)
}

describe('a node that is printed', () => {
  it('says what it is in three lines', async () => {
    const node = await openNode(env, {
      driver: 'memory',
      size: 512,
      nodeName: 'scratch',
      readOnly: true,
    })
    expect(inspect(node)).toBe("BlockNode node 'scratch'\n  memory, 512 bytes, open, read-only")
    expect(`${node}`).toBe("node 'scratch'")
    await node.close()
    expect(JSON.parse(JSON.stringify(node))).toMatchObject({ driver: 'memory', size: 512, state: 'closed' })
  })

  it('is called by what it is, not by a name that was made up', async () => {
    const node = await open()
    await expect(node.truncate(10).then(() => node.read(SIZE, 5 as never))).rejects.toThrow('into')
    await node.close()
    await expect(node.read(0, new Uint8Array(5))).rejects.toThrow(/^memory is closed$/)
  })
})
