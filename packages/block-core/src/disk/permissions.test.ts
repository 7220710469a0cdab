/** What a handle takes of its root and lets others do, and its cache mode: its own, not those of the node. */
import { beforeEach, describe, expect, it } from 'vitest'
import { storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { PERMISSION } from '../contract/permissions.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import { insertFilter, removeFilter, replaceNode } from '../open/rewire.ts'
import type { RawOptions } from '../text/options.ts'
import { setPermissions } from './permissions.ts'

const { consistentRead, write, writeUnchanged } = PERMISSION
const UNSHARED = { shared: consistentRead | writeUnchanged }

/** What each protocol node was told last, and what was asked of it. */
const told = new Map<string, string>()
const asked: string[] = []

const disk = defineDriver({
  name: 'disk',
  kind: 'protocol',
  async open({ nodeName }) {
    const bytes = new Uint8Array(4096)
    return {
      size: () => bytes.length,
      read: async (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
      async write(offset, from) {
        asked.push('write')
        bytes.set(from, offset)
      },
      async writeCompressed(offset, from) {
        asked.push('writeCompressed')
        bytes.set(from, offset)
      },
      async copyRange() {
        asked.push('copyRange')
      },
      async writeVmState() {
        asked.push('writeVmState')
      },
      async truncate() {
        asked.push('truncate')
      },
      async makeEmpty() {
        asked.push('makeEmpty')
      },
      async flush() {
        asked.push('flush')
      },
      preparePermissions: ({ taken, shared }) => ({
        commit: () => void told.set(nodeName, `${taken} ${shared}`),
        abort() {},
      }),
    }
  },
})
/** A format that keeps tables of its file. */
const tables = defineDriver({
  name: 'tables',
  kind: 'format',
  children: { file: storage },
  open: async (context) => forwardOps(await context.requireChild('file')),
})
const registry = new DriverRegistry([disk, tables, passThrough])
let environment: OpenEnvironment
beforeEach(() => {
  environment = { registry, host: denyHost }
})
const open = (options: RawOptions) => openNode(environment, options)
const named = (name: string, more: RawOptions = {}) => open({ driver: 'disk', nodeName: name, ...more })
const BYTE = Uint8Array.of(7)

describe('the permissions of a handle', () => {
  it('are to read and write what it may, beside everything that others do', async () => {
    const disk = await named('a')
    expect(told.get('a')).toBe('3 15')
    await disk.close()
    const reader = await named('b', { readOnly: true })
    expect(told.get('b')).toBe('1 15')
    await reader.close()
  })

  it('change, and with them what the handle does', async () => {
    const disk = await named('a')
    setPermissions(disk, { taken: consistentRead })
    expect([told.get('a'), disk.readOnly, disk.root.readOnly]).toEqual(['1 15', true, false])
    asked.length = 0
    for (const refused of [
      disk.write(0, BYTE),
      disk.writeZeroes(0, 1),
      disk.writeCompressed(0, BYTE),
      disk.discard(0, 1),
      disk.truncate(512),
      disk.writeVmState(0, BYTE),
      disk.makeEmpty(),
    ])
      await expect(refused).rejects.toMatchObject({ code: 'EPERM' })
    expect(asked).toEqual([])
    setPermissions(disk, { taken: consistentRead | write, ...UNSHARED })
    expect([told.get('a'), disk.readOnly]).toEqual(['3 5', false])
    await disk.write(0, BYTE)
    await disk.close()
  })

  it('are refused on a read-only node, and gained when it is reopened', async () => {
    const disk = await named('a', { readOnly: true })
    setPermissions(disk, { taken: consistentRead })
    expect(() => setPermissions(disk, { taken: write })).toThrow(
      expect.objectContaining({
        code: 'EPERM',
        message: "Block node 'a' is read-only",
      }),
    )
    await reopenNode(disk, { readOnly: false })
    expect([told.get('a'), disk.readOnly]).toEqual(['1 15', true])
    setPermissions(disk, { taken: consistentRead | write })
    expect([told.get('a'), disk.readOnly]).toEqual(['3 15', false])
    await disk.close()
  })

  it('are refused where a parent writes what they do not share, in QEMU’s words, and nothing changes', async () => {
    const disk = await named('a')
    const format = await open({ driver: 'tables', nodeName: 'format', file: disk })
    expect(() => setPermissions(disk, UNSHARED)).toThrow(
      expect.objectContaining({
        code: 'EBUSY',
        message:
          "Permission conflict on node 'a': permissions 'write, resize' are both required by node 'format' (uses node 'a' as 'file' child) and unshared by an unnamed block device (uses node 'a' as 'root' child).",
      }),
    )
    expect(told.get('a')).toBe('11 5')
    await format.close()
    expect(told.get('a')).toBe('3 15')
    setPermissions(disk, UNSHARED)
    await expect(open({ driver: 'tables', file: disk })).rejects.toMatchObject({ code: 'EBUSY' })
    const reader = await open({ driver: 'tables', readOnly: true, file: disk })
    await reader.close()
    await disk.close()
  })

  it('go along when the handle is moved; a second handle is compared with them', async () => {
    const [one, two] = [await named('a'), await named('b')]
    setPermissions(one, UNSHARED)
    // The handle on the other node also writes.
    await expect(replaceNode(one, two)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringContaining(
        "'write' are both required by an unnamed block device (uses node 'b' as 'root' child)",
      ),
    })
    expect([one.root.name, told.get('a'), told.get('b')]).toEqual(['a', '3 5', '3 15'])
    setPermissions(two, { taken: consistentRead })
    await replaceNode(one, two)
    expect([one.root.name, told.get('b')]).toEqual(['b', '3 5'])
    await one.close()
    expect(told.get('b')).toBe('1 15')
    await two.close()
  })

  it('do not reach a node that is opened to be put in: a filter on a file that a format writes', async () => {
    const file = await named('a')
    const format = await open({ driver: 'tables', file })
    await expect(open({ driver: 'pass-through', file })).rejects.toMatchObject({ code: 'EBUSY' })
    const filter = await insertFilter(file, { driver: 'pass-through' })
    expect([told.get('a'), file.root]).toEqual(['11 5', filter])
    await removeFilter(filter)
    expect(told.get('a')).toBe('11 5')
    for (const disk of [format, file]) await disk.close()
  })

  it.each([{ taken: 16 }, { shared: -1 }, { taken: '3' }, { shared: 0.5 }])(
    'are bits of PERMISSION, not %o',
    async (wrong) => {
      const disk = await named('a')
      expect(() => setPermissions(disk, wrong as never)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
      expect(told.get('a')).toBe('3 15')
      await disk.close()
      expect(() => setPermissions(disk, {})).toThrow(expect.objectContaining({ code: 'ENOMEDIUM' }))
    },
  )
})

describe('the write cache of a handle', () => {
  it('makes each of its changes durable when it is off, and can be turned on and off', async () => {
    const disk = await named('a', { cache: { writeback: false } })
    const other = await named('b')
    const changes: readonly (() => Promise<void>)[] = [
      () => disk.write(0, BYTE),
      () => disk.write(0, BYTE, { mayUnmap: true }),
      () => disk.writeZeroes(0, 1),
      () => disk.writeCompressed(0, BYTE),
      () => disk.copyRange(0, 1, other, 0),
      () => disk.truncate(4096),
      () => disk.writeVmState(0, BYTE),
    ]
    for (const change of changes) {
      asked.length = 0
      await change()
      expect(asked.at(-1)).toBe('flush')
      asked.length = 0
      await disk.flush()
      expect(asked).toEqual([])
    }
    disk.writeCache = true
    for (const change of changes) {
      asked.length = 0
      await change()
      expect(asked).not.toContain('flush')
    }
    for (const one of [disk, other]) await one.close()
  })

  it('is not that of the nodes above and below, nor of another handle', async () => {
    const file = await named('a', { cache: { writeback: false } })
    const format = await open({ driver: 'tables', file })
    expect([file.writeCache, format.writeCache]).toEqual([false, true])
    asked.length = 0
    await format.write(0, BYTE)
    expect(asked).toEqual(['write'])
    await file.write(0, BYTE)
    expect(asked).toEqual(['write', 'write', 'flush'])
    for (const disk of [format, file]) await disk.close()
  })

  it('stays with the handle when its root is another node, and is reopened through the handle alone', async () => {
    const disk = await named('a')
    await reopenNode(disk, { cache: { writeCache: false } })
    const filter = await insertFilter(disk, { driver: 'pass-through' })
    asked.length = 0
    await disk.write(0, BYTE)
    expect(asked).toEqual(['write', 'flush'])
    await expect(reopenNode(filter, { cache: { writeCache: true } })).rejects.toThrow(
      "Cannot change the option 'cache.writeback'",
    )
    await expect(insertFilter(disk, { driver: 'pass-through', cache: { writeback: true } })).rejects.toThrow(
      'cache.writeback',
    )
    expect(disk.writeCache).toBe(false)
    await reopenNode(disk, { readOnly: true })
    expect(disk.writeCache).toBe(false)
    await reopenNode(disk, { options: { 'cache.writeback': true, readOnly: false } })
    expect(disk.writeCache).toBe(true)
    await disk.close()
  })
})
