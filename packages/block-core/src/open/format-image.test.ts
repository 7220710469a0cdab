/** Open images are not formatted, and data is overwritten only with `overwrite`. */
import { linkSync, readFileSync, symlinkSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { cow, sharedStorage, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory, openMemory } from '../drivers/memory.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { fileDriver } from '../node-js/file.ts'
import { systemCalls } from '../node-js/koffi.ts'
import { ScratchFiles } from '../node-js/scratch-files.ts'
import { type RawOptions, size } from '../text/options.ts'
import { formatImage } from './format-image.ts'
import { openNode } from './open.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())

/** A format that keeps tables of its file in memory. Its images are one sector of this byte. */
const MARK = 0x5a
let creating: (() => Promise<void>) | undefined
const tables = defineDriver({
  name: 'tables',
  kind: 'format',
  children: { file: storage, backing: cow },
  async open(context) {
    const child = await context.requireChild('file')
    await context.child('backing')
    return forwardOps(child)
  },
  creation: async () => ({
    options: { size: size('Size') },
    async create({ file }) {
      await creating?.()
      await file.write(0, new Uint8Array(512).fill(MARK))
    },
  }),
})
const plain = defineDriver({
  name: 'plain',
  kind: 'format',
  children: { file: sharedStorage() },
  open: async (context) => forwardOps(await context.requireChild('file')),
})

const EBUSY = { code: 'EBUSY' }
const EEXIST = { code: 'EEXIST' }
const on = (filename: string, more: RawOptions = {}): RawOptions => ({ driver: 'file', filename, ...more })

const HOSTS = [
  ['with the system calls of this host', systemCalls],
  ['without', {}],
] as const

describe.each(HOSTS)('formatting, %s', (_, hostCalls) => {
  const registry = new DriverRegistry([fileDriver({ hostCalls }), memory, tables, plain, passThrough])
  const open = (options: RawOptions) => openNode({ registry, host: denyHost }, options)
  const format = (node: BlockNode, overwrite = false) =>
    formatImage(tables, node, { size: 512 }, undefined, { overwrite })

  it('is refused while an image in the node is open, by writers and readers, and then nothing is written', async () => {
    const path = scratch.newFile(new Uint8Array(1024))
    const before = readFileSync(path)
    const file = await open(on(path))
    const users = [
      { driver: 'tables', file },
      { driver: 'tables', file, readOnly: true },
      { driver: 'plain', file, readOnly: true },
      { driver: 'tables', file: openMemory(new Uint8Array(512)), backing: { driver: 'plain', file } },
      { driver: 'pass-through', file },
    ]
    for (const options of users) {
      const user = await open(options)
      await expect(format(file, true)).rejects.toMatchObject(EBUSY)
      expect(readFileSync(path).equals(before)).toBe(true)
      await user.close()
    }
    await format(file)
    expect(readFileSync(path)[0]).toBe(MARK)
    await file.close()
  })

  it('is refused while its file is open elsewhere, by whatever name, except by users that share everything', async () => {
    const path = scratch.newFile(new Uint8Array(1024))
    const [symbolic, hard] = [`${path}.symbolic`, `${path}.hard`]
    symlinkSync(path, symbolic)
    linkSync(path, hard)
    const file = await open(on(path))
    for (const name of [path, symbolic, hard]) {
      const reader = await open({ driver: 'plain', file: on(name), readOnly: true })
      await expect(format(file, true)).rejects.toMatchObject(EBUSY)
      await reader.close()
      const forced = await open({ driver: 'tables', file: on(name), readOnly: true, forceShare: true })
      await format(file, true)
      await forced.close()
    }
    await file.close()
  })

  it('is refused beside another request of its kind, and keeps images from being opened meanwhile', async () => {
    const path = scratch.newFile(new Uint8Array(0))
    const file = await open(on(path))
    let go: (() => void) | undefined
    creating = () => new Promise((resolve) => (go = resolve))
    const first = format(file)
    while (!go) await new Promise((resolve) => setImmediate(resolve))
    creating = undefined
    await expect(format(file)).rejects.toMatchObject(EBUSY)
    await expect(open({ driver: 'tables', file })).rejects.toMatchObject(EBUSY)
    await expect(open({ driver: 'tables', file: on(path), readOnly: true })).rejects.toMatchObject(EBUSY)
    await expect(file.close()).rejects.toMatchObject(EBUSY)
    go()
    await first
    const image = await open({ driver: 'tables', file })
    await image.close()
    await file.close()
  })

  it('needs a word where anything but zeroes is read', async () => {
    for (const at of [0, 700_000, 999_999]) {
      const content = new Uint8Array(1_000_000)
      content[at] = 1
      const path = scratch.newFile(content)
      const file = await open(on(path))
      await expect(format(file)).rejects.toMatchObject(EEXIST)
      await expect(format(file)).rejects.toThrow(`'${path}' holds data`)
      expect(readFileSync(path).equals(content)).toBe(true)
      await format(file, true)
      await file.close()
    }
    const blank = await open(on(scratch.newFile(new Uint8Array(1_000_001))))
    await format(blank)
    await expect(format(blank)).rejects.toMatchObject(EEXIST)
    await blank.close()
  })

  it('asks the same of a data file, and leaves both alone', async () => {
    const [path, data] = [scratch.newFile(new Uint8Array(0)), scratch.newFile('data')]
    const [file, dataFile] = [await open(on(path)), await open(on(data))]
    const both = (overwrite: boolean) => formatImage(tables, file, {}, dataFile, { overwrite })
    await expect(both(false)).rejects.toMatchObject(EEXIST)
    const user = await open({ driver: 'plain', file: dataFile })
    await expect(both(true)).rejects.toMatchObject(EBUSY)
    await user.close()
    await expect(formatImage(tables, file, {}, file, { overwrite: true })).rejects.toMatchObject(EBUSY)
    expect(readFileSync(path).length).toBe(0)
    await both(true)
    for (const node of [file, dataFile]) {
      expect(node.hasParents).toBe(false)
      await node.close()
    }
  })

  it('says first what is wrong with the options', async () => {
    const file = await open(on(scratch.newFile('data')))
    await expect(formatImage(tables, file, { nonsense: 1 } as object)).rejects.toThrow('nonsense')
    await file.close()
  })
})
