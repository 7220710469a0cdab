/** Lists of children: a small driver joins extents to one disk. */
import { describe, expect, it } from 'vitest'
import { extent } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost, type ImageResolver } from '../contract/image-resolver.ts'
import type { BlockChild, BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory, openMemory } from '../drivers/memory.ts'
import { findNode } from '../graph/environment.ts'
import type { RawOptions } from '../text/options.ts'
import { text } from '../text/options.ts'
import { openNode } from './open.ts'
import { reopenNode } from './reopen.ts'

/** The extents one after the other, which stay as large as they are; `names` stands for names in an image. */
const joined = defineDriver({
  name: 'joined',
  kind: 'format',
  children: { 'extents.*': extent },
  options: { names: text('names of extents, as an image would hold them') },
  async open(context): Promise<NodeOps> {
    const names = context.options.names?.split(' ') ?? []
    const extents = await context.children(
      'extents',
      names.map((filename) => ({ filename })),
    )
    const each = async (
      offset: number,
      bytes: Uint8Array,
      run: (child: BlockChild, at: number, part: Uint8Array) => Promise<void>,
    ): Promise<void> => {
      let start = 0
      for (const child of extents) {
        const [from, to] = [Math.max(offset, start), Math.min(offset + bytes.length, start + child.size)]
        if (from < to) await run(child, from - start, bytes.subarray(from - offset, to - offset))
        start += child.size
      }
    }
    return {
      size: () => extents.reduce((sum, { size }) => sum + size, 0),
      read: (offset, into) => each(offset, into, (child, at, part) => child.read(at, part)),
      write: (offset, from) => each(offset, from, (child, at, part) => child.write(at, part)),
      flush: async () => void (await Promise.all(extents.map((child) => child.flush()))),
      prepareReopen: async () => ({ commit() {}, abort() {} }),
    }
  },
})

// The names of children are those that are declared.
defineDriver({
  name: 'typos',
  kind: 'format',
  children: { 'extents.*': extent },
  async open(context): Promise<NodeOps> {
    // @ts-expect-error
    await context.child('extents')
    // @ts-expect-error
    await context.children('extent')
    return { size: () => 0, read: async () => undefined }
  },
})

const registry = new DriverRegistry([memory, joined])
const environment = (host: ImageResolver = denyHost) => ({ registry, host })
const part = (size: number, name?: string): RawOptions => ({
  driver: 'memory',
  size,
  ...(name && { nodeName: name }),
})

/** Three extents of 1, 2 and 1 KiB. */
const THREE = [part(1024, 'a'), part(2048, 'b'), part(1024, 'c')]
const ways: [string, RawOptions][] = [
  ['an array', { extents: THREE }],
  ['dotted keys', Object.fromEntries(THREE.map((tree, i) => [`extents.${i}`, tree]))],
  [
    'dotted keys to the last, in any order',
    Object.fromEntries(
      [2, 0, 1].flatMap((i) =>
        Object.entries(THREE[i]!).map(([key, value]) => [`extents.${i}.${key}`, String(value)]),
      ),
    ),
  ],
]

const open = (options: RawOptions, env = environment()): Promise<BlockNode> =>
  openNode(env, { driver: 'joined', ...options })

describe('a list of children', () => {
  it.each(ways)('is given as %s, and read and written across its members', async (_, options) => {
    const env = environment()
    const node = await open(options, env)
    expect([...node.children.keys()]).toEqual(['extents.0', 'extents.1', 'extents.2'])
    expect([...node.children.values()].map(({ node, role }) => [node.name, role])).toEqual([
      ['a', 'extents.0'],
      ['b', 'extents.1'],
      ['c', 'extents.2'],
    ])
    expect(node.size).toBe(4096)
    await node.write(
      512,
      Uint8Array.from({ length: 3072 }, (_, i) => (i >> 9) + 1),
    )
    const middle = new Uint8Array(2048)
    await findNode(env, 'b').read(0, middle)
    expect([0, 512, 1024, 1536].map((at) => middle[at])).toEqual([2, 3, 4, 5])
    const all = new Uint8Array(4096)
    await node.read(0, all)
    expect([0, 512, 1024, 3072, 3584].map((at) => all[at])).toEqual([0, 1, 2, 6, 0])
    await node.close()
    expect(() => findNode(env, 'b')).toThrow('Cannot find')
  })

  it('may be empty, and may hold open nodes and names of nodes', async () => {
    expect((await open({})).size).toBe(0)
    expect((await open({ extents: [] })).size).toBe(0)
    const env = environment()
    const named = await openNode(env, part(512, 'named'))
    const disk = openMemory(new Uint8Array(1024))
    const node = await open({ extents: ['named', disk] }, env)
    expect(node.size).toBe(1536)
    expect([named.hasParents, disk.hasParents]).toEqual([true, true])
    await node.close()
    expect([named.isOpen, named.hasParents]).toEqual([true, false])
  })

  const refused: [string, RawOptions, string][] = [
    ['a gap', { 'extents.0': part(1), 'extents.2': part(1) }, 'Option extents is not a valid array'],
    ['no first', { 'extents.1': part(512) }, 'Option extents is not a valid array'],
    ['a word for a number', { 'extents.first': part(512) }, 'Option extents is not a valid array'],
    ['no list', { extents: 'a' }, 'Option extents is not a valid array'],
    ['null in a list', { extents: [null] }, 'A block device must be specified for "extents.0"'],
    ['an unknown node', { extents: ['x'] }, "Cannot find device='x' nor node-name='x'"],
    ['a number', { extents: [5] }, "Invalid parameter type for 'extents.0', expected: object"],
    [
      'an unknown option of a member',
      { 'extents.0': { ...part(512), foo: 1 } },
      "Block protocol 'memory' doesn't support the option 'foo'",
    ],
    [
      'a child that is not declared',
      { file: part(512) },
      "Block format 'joined' does not support the option 'file.driver'",
    ],
  ]
  it.each(refused)('refuses %s, and leaves nothing open', async (_, options, message) => {
    const env = environment()
    await expect(open({ ...options, nodeName: 'top' }, env)).rejects.toThrow(message)
    expect(() => findNode(env, 'top')).toThrow('Cannot find')
  })

  it('closes the members that were open when a later one fails', async () => {
    const env = environment()
    await expect(open({ extents: [part(512, 'a'), { driver: 'none' }] }, env)).rejects.toThrow(
      "Unknown driver 'none'",
    )
    expect(() => findNode(env, 'a')).toThrow('Cannot find')
  })

  it('takes from the image what the user does not give', async () => {
    const asked: string[] = []
    const host: ImageResolver = {
      resolve: async ({ filename }, _, role) => {
        asked.push(`${role}: ${filename}`)
        return { driver: 'memory', size: Number(filename) }
      },
    }
    const node = await open({ names: '512 1024', extents: [part(2048)] }, environment(host))
    expect([asked, node.size]).toEqual([['extents.1: 1024'], 3072])
    await node.close()
  })

  it('has permissions for each member: two disks do not resize one', async () => {
    const disk = openMemory(new Uint8Array(1024), { name: 'disk' })
    const first = await open({ nodeName: 'first', extents: [part(512), disk] })
    await expect(open({ nodeName: 'second', extents: [disk] })).rejects.toMatchObject({
      code: 'EBUSY',
      message:
        "Permission conflict on node 'disk': permissions 'resize' are both required by node 'first' (uses node 'disk' as 'extents.1' child) and unshared by node 'second' (uses node 'disk' as 'extents.0' child).",
    })
    await first.crash()
    const next = await open({ extents: [disk] })
    await next.close()
  })

  it('is reopened with the node, and under the names of its members', async () => {
    const node = await open({ extents: THREE })
    const members = [...node.children.values()].map((edge) => edge.node)
    await reopenNode(node, { readOnly: true })
    expect(members.map(({ readOnly }) => readOnly)).toEqual([true, true, true])
    await reopenNode(node, { readOnly: false })
    expect(members.map(({ readOnly }) => readOnly)).toEqual([false, false, false])
    await reopenNode(node, { options: { 'extents.1.detect-zeroes': 'on' } })
    expect(members.map(({ config }) => config.detectZeroes)).toEqual(['off', 'on', 'off'])
    await reopenNode(node, {
      options: { extents: [{ detectZeroes: 'on' }, {}, { detectZeroes: 'on' }] },
    })
    expect(members.map(({ config }) => config.detectZeroes)).toEqual(['on', 'on', 'on'])
    const other = openMemory(new Uint8Array(512))
    await reopenNode(node, { options: { 'extents.2': other } })
    expect([node.size, members[2]!.isOpen]).toEqual([3584, false])
    for (const options of [{ 'extents.7': other }, { extents: { 9: {}, first: 1 } }])
      await expect(reopenNode(node, { options })).rejects.toThrow("Cannot change the option 'extents.")
    await node.close()
  })

  it('is gone with a crash of the node', async () => {
    const env = environment()
    const node = await open({ extents: THREE }, env)
    const [first] = node.children.values()
    await node.crash()
    await expect((first as BlockChild).read(0, new Uint8Array(1))).rejects.toMatchObject({
      code: 'ECANCELED',
    })
    for (const name of ['a', 'b', 'c']) expect(() => findNode(env, name)).toThrow('Cannot find')
  })

  it('is part of the name of the node, which opens it again', async () => {
    const node = await open({ extents: [part(512), part(1024)] })
    expect(node.filename).toMatch(/^json:/)
    const again = await openNode(environment(), node.filename)
    expect([again.size, [...again.children.keys()]]).toEqual([1536, ['extents.0', 'extents.1']])
    expect(again.filename).toBe(node.filename)
    for (const one of [node, again]) await one.close()
  })
})
