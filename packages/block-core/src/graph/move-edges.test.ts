/** Edges that move to another node: all or none, with the permissions of their owners. */
import { beforeEach, describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { PERMISSION } from '../contract/permissions.ts'
import { DriverRegistry } from '../contract/registry.ts'
import type { Disk } from '../disk/disk.ts'
import { setPermissions } from '../disk/permissions.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { openNode, openRoot } from '../open/open.ts'
import type { RawOptions } from '../text/options.ts'
import { linkedNode } from './known-nodes.ts'
import type { Edge } from './links.ts'
import { moveEdges } from './permissions.ts'

/** What each protocol node was told last: what is taken and shared; and the nodes that refuse everything. */
const told = new Map<string, string>()
const refusing = new Set<string>()
let steps: string[] = []
beforeEach(() => {
  told.clear()
  refusing.clear()
  steps = []
})

const disk = defineDriver({
  name: 'disk',
  kind: 'protocol',
  async open({ nodeName }) {
    const bytes = new Uint8Array(4096)
    return {
      size: () => bytes.length,
      read: async (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
      write: async (offset, from) => bytes.set(from, offset),
      preparePermissions({ taken, shared }) {
        if (refusing.has(nodeName)) throw new BlockError('EBUSY', `${nodeName} is busy`)
        steps.push(`prepare ${nodeName}`)
        return {
          commit() {
            steps.push(`commit ${nodeName}`)
            told.set(nodeName, `${taken} ${shared}`)
          },
          abort: () => void steps.push(`abort ${nodeName}`),
        }
      },
    }
  },
})
const format = defineDriver({
  name: 'format',
  kind: 'format',
  open: async (context) => forwardOps(await context.requireChild('file')),
})
const registry = new DriverRegistry([disk, format, passThrough])
const environment = { registry, host: denyHost }
const open = (options: RawOptions): Promise<Disk> => openNode(environment, options)
const named = (name: string): Promise<Disk> => open({ driver: 'disk', 'node-name': name })
const edgeOf = (node: BlockNode): Edge => linkedNode(node).file!

const { consistentRead, write, writeUnchanged, resize } = PERMISSION
/** For a format that writes, and for a user alone. */
const FORMAT = `${consistentRead | write | resize} ${consistentRead | writeUnchanged}`
const USER = `${consistentRead | write} 15`
const UNSHARED = { shared: consistentRead | writeUnchanged }

describe('moving edges', () => {
  it('takes the permissions along, in two phases', async () => {
    const [a, b] = [await named('a'), await named('b')]
    const node = await open({ driver: 'format', file: a })
    expect([told.get('a'), told.get('b')]).toEqual([FORMAT, USER])
    steps = []
    moveEdges([edgeOf(node)], linkedNode(b))
    expect([told.get('a'), told.get('b')]).toEqual([USER, FORMAT])
    expect(steps).toEqual(['prepare a', 'prepare b', 'commit a', 'commit b'])
    await node.write(0, new Uint8Array([7]))
    const into = new Uint8Array(1)
    await b.read(0, into)
    expect([into[0], a.hasParents, b.hasParents]).toEqual([7, false, true])
    for (const one of [node, a, b]) await one.close()
  })

  it('puts a filter between a format and its file, and takes it out again', async () => {
    const file = await named('file')
    const node = await open({ driver: 'format', file })
    const filter = await openRoot(environment, { driver: 'pass-through', file, 'node-name': 'filter' })
    moveEdges([edgeOf(node)], linkedNode(filter))
    expect(told.get('file')).toBe(FORMAT)
    await expect(filter.close()).rejects.toMatchObject({ code: 'EBUSY' })
    // The format, by way of the filter, is still in the way of another one.
    await expect(open({ driver: 'format', file })).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(open({ driver: 'format', file: filter })).rejects.toMatchObject({ code: 'EBUSY' })
    moveEdges([edgeOf(node)], linkedNode(file))
    await filter.close()
    expect(told.get('file')).toBe(FORMAT)
    await node.close()
    expect(told.get('file')).toBe(USER)
    await file.close()
  })

  it.each(['a', 'b'])('moves nothing if the driver of %s refuses', async (name) => {
    const [a, b] = [await named('a'), await named('b')]
    const node = await open({ driver: 'format', file: a })
    steps = []
    refusing.add(name)
    expect(() => moveEdges([edgeOf(node)], linkedNode(b))).toThrow(`${name} is busy`)
    expect(steps).toEqual(name === 'b' ? ['prepare a', 'abort a'] : [])
    expect([edgeOf(node).node, told.get('a'), told.get('b')]).toEqual([linkedNode(a), FORMAT, USER])
    refusing.clear()
    // Nothing of the attempt is left on either of them.
    const other = await open({ driver: 'format', file: b })
    await other.close()
    await expect(open({ driver: 'format', file: a })).rejects.toMatchObject({ code: 'EBUSY' })
    for (const one of [node, a, b]) await one.close()
  })

  it('moves none of several edges if one is in conflict with a parent', async () => {
    const [a, b, c] = [await named('a'), await named('b'), await named('c')]
    const nodes = [await open({ driver: 'format', file: a }), await open({ driver: 'format', file: b })]
    const edges = nodes.map(edgeOf)
    expect(() => moveEdges(edges, linkedNode(c))).toThrow("Permission conflict on node 'c'")
    expect(edges.map(({ node }) => node.name)).toEqual(['a', 'b'])
    expect([told.get('a'), told.get('b'), told.get('c')]).toEqual([FORMAT, FORMAT, USER])
    moveEdges([edges[0]!], linkedNode(c))
    expect([told.get('a'), told.get('c')]).toEqual([USER, FORMAT])
    for (const one of [...nodes, a, b, c]) await one.close()
  })
})

describe('a user that relies on what it reads', () => {
  it('keeps writers away from below a filter, and is refused beside one', async () => {
    const file = await open({ driver: 'disk', 'node-name': 'file' })
    const reader = await open({ driver: 'pass-through', 'read-only': true, file })
    setPermissions(reader, UNSHARED)
    await expect(open({ driver: 'format', file })).rejects.toMatchObject({ code: 'EBUSY' })
    expect(told.get('file')).toBe(`${consistentRead | write} ${consistentRead | writeUnchanged}`)
    await reader.close()
    const writer = await open({ driver: 'format', file })
    const late = await open({ driver: 'pass-through', 'read-only': true, file })
    expect(() => setPermissions(late, UNSHARED)).toThrow("Permission conflict on node 'file'")
    for (const one of [late, writer, file]) await one.close()
  })
})
