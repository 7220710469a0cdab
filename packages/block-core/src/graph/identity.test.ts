import { linkSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { cow, sharedStorage, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import { PERMISSION } from '../contract/permissions.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { setPermissions } from '../disk/permissions.ts'
import { memory, openMemory } from '../drivers/memory.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { file } from '../node-js/file.ts'
import { ScratchFiles } from '../node-js/scratch-files.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import type { RawOptions } from '../text/options.ts'
import { requireIdentityUnused } from './identity.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())

/** A format that keeps tables of its file in memory. */
const tables = defineDriver({
  name: 'tables',
  kind: 'format',
  children: { file: storage, backing: cow },
  async open(context) {
    const child = await context.requireChild('file')
    await context.child('backing')
    return forwardOps(child)
  },
})
const plain = defineDriver({
  name: 'plain',
  kind: 'format',
  children: { file: sharedStorage() },
  open: async (context) => forwardOps(await context.requireChild('file')),
})
const registry = new DriverRegistry([file, memory, tables, plain, passThrough])
/** Opens each node in a new environment: the protection of a file does not depend on the environment. */
const open = (options: RawOptions) => openNode({ registry, host: denyHost }, options)

const newFile = (): string => scratch.newFile(new Uint8Array(4096))
const on = (filename: string, more: RawOptions = {}): RawOptions => ({ driver: 'file', filename, ...more })
const QEMU_WRITE = (name: string) => ({
  code: 'EBUSY',
  message: `Failed to get "write" lock\nIs another process using the image [${name}]?`,
})
const QEMU_SHARED = (name: string) => ({
  code: 'EBUSY',
  message: `Failed to get shared "write" lock\nIs another process using the image [${name}]?`,
})

describe('one file, by several nodes', () => {
  it('is not written by two of them, whatever name is used, and the first one is named', async () => {
    const path = newFile()
    const symbolic = `${path}.symbolic`
    const hard = `${path}.hard`
    symlinkSync(path, symbolic)
    linkSync(path, hard)
    const roundabout = join(scratch.directory, '..', path.slice(scratch.directory.lastIndexOf('/')))
    const first = await open(on(path, { 'node-name': 'first' }))
    for (const name of [path, symbolic, hard, roundabout]) {
      const refused = open(on(name))
      await expect(refused).rejects.toMatchObject(QEMU_WRITE(name))
      await expect(refused).rejects.toMatchObject({
        cause: { message: `node 'first' of this process has it open for writing, as '${path}'` },
      })
    }
    await first.close()
    const next = await open(on(hard))
    await next.close()
  })

  it('is free again after a crash, and after an open that failed above it', async () => {
    const path = newFile()
    const first = await open({ driver: 'tables', file: on(path) })
    await first.crash()
    await expect(open({ driver: 'tables', file: on(path), nonsense: 1 })).rejects.toThrow('nonsense')
    const second = await open({ driver: 'tables', file: on(path) })
    await second.close()
  })

  it('is read beside a writer by nodes that keep nothing of it, as in QEMU', async () => {
    const path = newFile()
    const writer = await open({ driver: 'plain', file: on(path) })
    const reader = await open({ driver: 'plain', 'read-only': true, file: on(path) })
    await reader.close()
    await expect(open({ driver: 'tables', 'read-only': true, file: on(path) })).rejects.toMatchObject(
      QEMU_SHARED(path),
    )
    await writer.close()
  })

  it('is not written beside a reader that keeps tables of it, even through a filter', async () => {
    const path = newFile()
    const readers = await Promise.all(
      [1, 2].map(() =>
        open({ driver: 'tables', 'read-only': true, file: { driver: 'pass-through', file: on(path) } }),
      ),
    )
    await expect(open(on(path))).rejects.toMatchObject(QEMU_WRITE(path))
    await expect(open({ driver: 'plain', file: on(path) })).rejects.toMatchObject(QEMU_WRITE(path))
    for (const reader of readers) await reader.close()
  })

  it('is not both a backing file and written', async () => {
    const path = newFile()
    const base = { driver: 'tables', file: on(path) }
    await expect(open({ driver: 'tables', file: on(path), backing: base })).rejects.toMatchObject({
      code: 'EBUSY',
      message: `Could not open backing file: Failed to get shared "write" lock\nIs another process using the image [${path}]?`,
    })
  })

  it('may be shared by force-share and by locking=off', async () => {
    const path = newFile()
    const writer = await open({ driver: 'tables', file: on(path) })
    const forced = await open({ driver: 'tables', 'read-only': true, 'force-share': true, file: on(path) })
    const unlocked = await open({ driver: 'tables', file: on(path, { locking: 'off' }) })
    for (const node of [writer, forced, unlocked]) await node.close()
  })

  it('is not emptied by creating it anew', async () => {
    const path = newFile()
    const reader = await open({ driver: 'tables', 'read-only': true, file: on(path) })
    const create = () => file.createFile!({ filename: path, aio: 'adaptive', locking: 'auto' }, 0, 'off')
    await expect(create()).rejects.toMatchObject(QEMU_WRITE(path))
    expect(reader.size).toBe(4096)
    await reader.close()
    await create()
    expect(() => requireIdentityUnused('file:1:1', 'x')).not.toThrow()
  })

  it('is neither written nor emptied under a reader that relies on it', async () => {
    const path = newFile()
    const create = () => file.createFile!({ filename: path, aio: 'adaptive', locking: 'auto' }, 0, 'off')
    const reader = await open({ driver: 'plain', 'read-only': true, file: on(path) })
    const writer = await open({ driver: 'plain', file: on(path) })
    await writer.close()
    setPermissions(reader, { shared: PERMISSION.consistentRead | PERMISSION.writeUnchanged })
    await expect(open({ driver: 'plain', file: on(path) })).rejects.toMatchObject(QEMU_WRITE(path))
    await expect(create()).rejects.toMatchObject(QEMU_WRITE(path))
    const other = await open({ driver: 'plain', 'read-only': true, file: on(path) })
    for (const node of [reader, other]) await node.close()
    await create()
  })

  it('is not written by two opens that run at once', async () => {
    const path = newFile()
    const opened = await Promise.allSettled([1, 2, 3].map(() => open(on(path))))
    expect(opened.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
    for (const one of opened) if (one.status === 'fulfilled') await one.value.close()
  })

  it('is asked for again when a node is reopened for writing', async () => {
    const path = newFile()
    const options = { driver: 'tables', 'read-only': true, file: on(path) }
    const [first, second] = [await open(options), await open(options)]
    await expect(reopenNode(first, { readOnly: false })).rejects.toMatchObject(QEMU_WRITE(path))
    expect(first.readOnly).toBe(true)
    await second.close()
    await reopenNode(first, { readOnly: false })
    await expect(open(options)).rejects.toMatchObject(QEMU_SHARED(path))
    await reopenNode(first, { readOnly: true })
    const third = await open(options)
    for (const node of [first, third]) await node.close()
  })

  it('goes to one of two nodes that are reopened for writing at once', async () => {
    const path = newFile()
    const options = { driver: 'plain', 'read-only': true, file: on(path) }
    const nodes = [await open(options), await open(options)]
    const results = await Promise.allSettled(nodes.map((node) => reopenNode(node, { readOnly: false })))
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    for (const node of nodes) await node.close()
  })

  it('is another file once its name belongs to one', async () => {
    const path = newFile()
    const first = await open(on(path))
    const fresh = scratch.newFile('other')
    writeFileSync(fresh, 'x')
    const second = await open(on(fresh))
    for (const node of [first, second]) await node.close()
  })
})

describe('one node under several parents', () => {
  it('has one format that writes, in QEMU’s words', async () => {
    const disk = openMemory(new Uint8Array(4096), { name: 'disk' })
    const first = await open({ driver: 'tables', 'node-name': 'first', file: disk })
    await expect(open({ driver: 'tables', 'node-name': 'second', file: disk })).rejects.toMatchObject({
      code: 'EBUSY',
      message:
        "Permission conflict on node 'disk': permissions 'write, resize' are both required by node 'second' (uses node 'disk' as 'file' child) and unshared by node 'first' (uses node 'disk' as 'file' child).",
    })
    await expect(open({ driver: 'tables', 'read-only': true, file: disk })).rejects.toMatchObject({
      code: 'EBUSY',
    })
    await first.crash()
    const next = await open({ driver: 'tables', file: disk })
    await next.close()
  })

  it('is shared by nodes that keep nothing of it', async () => {
    const disk = openMemory(new Uint8Array(4096), { name: 'disk' })
    const nodes = [
      await open({ driver: 'plain', file: disk }),
      await open({ driver: 'plain', file: disk }),
      await open({ driver: 'pass-through', file: disk }),
    ]
    await expect(open({ driver: 'tables', file: disk })).rejects.toMatchObject({ code: 'EBUSY' })
    for (const node of nodes) await node.close()
  })

  it('is protected from a child that a reopen puts in another’s place', async () => {
    const disk = openMemory(new Uint8Array(4096), { name: 'disk' })
    const spare = openMemory(new Uint8Array(4096), { name: 'spare' })
    const first = await open({ driver: 'tables', file: disk })
    const second = await open({ driver: 'tables', file: spare })
    await expect(reopenNode(second, { options: { file: disk } })).rejects.toMatchObject({ code: 'EBUSY' })
    for (const node of [first, second]) await node.close()
  })
})
