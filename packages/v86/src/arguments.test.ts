import { inspect } from 'node:util'
import { denyHost, openMemory } from '@vmblock/block-core'
import { opsOf } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { withCallbacks } from './disk/sector-device.ts'
import { exportInto } from './export/export-image.ts'
import { attachDisk } from './machine/attach-disk.ts'
import { flushOn } from './machine/flush-on.ts'
import { insertCdrom, insertFloppy } from './machine/removable.ts'
import { saveState } from './machine/save-state.ts'
import { V86Disk } from './machine/v86-disk.ts'
import { v86Disk as diskOf } from './machine/v86-disk-of.ts'
import { v86Disk } from './node-js.ts'

// biome-ignore lint/suspicious/noExplicitAny: wrong types are the point
type Anything = any

const SIZE = 65536
const open = (): V86Disk => new V86Disk(openMemory(new Uint8Array(SIZE)), { ownsNode: true })

const refused = (run: () => unknown, word: string): Promise<void> =>
  expect((async () => run())()).rejects.toMatchObject({
    code: 'EINVAL',
    message: expect.stringContaining(word),
  })

describe('a source', () => {
  it.each<[string, () => ArrayBufferView | ArrayBufferLike]>([
    ['ArrayBuffer', () => new ArrayBuffer(SIZE)],
    ['SharedArrayBuffer', () => new SharedArrayBuffer(SIZE)],
    ['DataView', () => new DataView(new ArrayBuffer(2 * SIZE), 512, SIZE)],
    ['Uint8Array', () => new Uint8Array(SIZE)],
  ])('in memory may be a %s', async (_, make) => {
    const disk = await v86Disk({ memory: make() })
    expect(disk.size).toBe(SIZE)
    await disk.close()
  })

  it.each<[string, unknown]>([
    ['{ memory: buffer }', { buffer: new ArrayBuffer(SIZE) }],
    ['memory: ArrayBuffer', undefined],
    ['memory: ArrayBuffer', null],
    ['memory: ArrayBuffer', 5],
    ['memory: ArrayBuffer', {}],
    ['memory: ArrayBuffer', { fiel: 'a' }],
    ['Uint8Array', { memory: 'text' }],
    ['Uint8Array', { memory: undefined }],
    ['Uint8Array', { memory: Number.NaN }],
    ['Uint8Array', { memory: [1, 2] }],
    ['both', { file: 'a', memory: 512 }],
    ["'file'", { file: 5 }],
    ['readonly', { file: 'a', readonly: true }],
    ['readOnly', { file: 'a', readOnly: 'false' }],
    ['size', { file: 'a', size: Number.NaN }],
    ["'base'", { overlay: 'memory' }],
    ["'overlay'", { overlay: undefined, base: { memory: 512 } }],
    ["'overlay'", { overlay: openMemory(new Uint8Array(512)), base: { memory: 512 } }],
    ['{ memory: buffer }', { overlay: 'memory', base: { buffer: new ArrayBuffer(512) } }],
    ['base', { overlay: 'memory', base: { memory: 512 }, bse: 1 }],
  ])('that is none is told %s (%#)', async (word, source) => {
    await refused(() => v86Disk(source as Anything), word)
    await expect(v86Disk(source as Anything)).rejects.not.toThrow(/NaN bytes|'in' operator/)
  })

  it('is asked for where only nodes are taken', async () => {
    await refused(() => diskOf(undefined as Anything), 'BlockNode')
    await refused(() => new V86Disk({} as Anything), 'BlockNode')
  })
})

describe('options', () => {
  it.each<[string, object]>([
    ['cachesize', { cachesize: 5 }],
    ['identity', { identity: 5 }],
    ['allowOlderState', { allowOlderState: 'false' }],
    ['ownsNode', { ownsNode: 1 }],
    ['durability', { durability: 'writeback' }],
    ['clock', { clock: {} }],
    ['host', { host: 'deny' }],
  ])('%s is refused before anything is opened', async (word, options) => {
    await refused(() => v86Disk({ file: 'not there', size: '1M' }, options as Anything), word)
  })

  it('that are undefined are not there', async () => {
    const options = { identity: undefined, host: denyHost, cacheSize: undefined } as Anything
    await (await v86Disk({ memory: 512 }, options)).close()
  })
})

describe('requests', () => {
  it.each(['0', 0n, null, undefined, {}])('of %s are refused by name', async (value: Anything) => {
    const disk = open()
    const sector = new Uint8Array(512)
    for (const method of ['tryRead', 'readAt', 'tryWrite', 'writeAt', 'discardAt'] as const)
      await refused(
        () => (disk as Anything)[method](value, method === 'discardAt' ? 512 : sector),
        "'offset'",
      )
    for (const method of ['readSync', 'read', 'writeSync', 'write'] as const)
      await refused(() => disk[method](value, sector), 'sector')
    await refused(() => disk.discardAt(0, value), "'bytes'")
    await refused(() => disk.discard(0, value), "'count'")
    await refused(() => disk.get(value, 512, () => undefined), "'start'")
    await refused(() => disk.get(0, value, () => undefined), "'length'")
    await refused(() => disk.set(value, sector, () => undefined), "'start'")
    await refused(() => disk.get_from_cache(0, value), "'length'")
  })

  it.each([['text'], [[1, 2]], [512], [undefined]])(
    'with %s for bytes are refused',
    async (value: Anything) => {
      const disk = open()
      for (const method of ['tryRead', 'readAt', 'readSync', 'read'] as const)
        await refused(() => disk[method](0, value), "'into'")
      for (const method of ['tryWrite', 'writeAt', 'writeSync', 'write'] as const)
        await refused(() => disk[method](0, value), "'from'")
      await refused(() => disk.set(0, value, () => undefined), "'data'")
    },
  )

  it('take any view, and lengths that are not negative', async () => {
    const disk = open()
    await disk.write(0, new Uint32Array(128).fill(0x01010101))
    const into = new ArrayBuffer(512)
    await disk.read(0, into)
    expect(new Set(new Uint8Array(into))).toEqual(new Set([1]))
    await refused(() => disk.discardAt(512, -512), "'bytes'")
    await refused(() => disk.read(0, into, {} as Anything), "'signal'")
  })
})

describe('helpers', () => {
  it.each<[string, (disk: Anything) => unknown]>([
    ["'fn'", (disk) => disk.get(0, 512)],
    ["'fn'", (disk) => disk.set(0, new Uint8Array(512))],
    ["'fn'", (disk) => disk.get_buffer()],
    ["'name'", (disk) => disk.get_as_file()],
    ["'durability'", (disk) => (disk.durability = 'sometimes')],
    ["'disk'", () => attachDisk({}, {} as Anything)],
    ['puase', (disk) => attachDisk({}, disk, { puase: true } as Anything)],
    ["'trim'", (disk) => attachDisk({}, disk, { trim: 'false' } as Anything)],
    ["'disk'", () => insertCdrom({}, {} as Anything)],
    ["'drive'", (disk) => insertFloppy({}, disk, 2 as Anything)],
    ["'emulator'", (disk) => saveState({} as Anything, disk)],
    ["'disks'", (disk) => saveState(emulator(), [disk] as Anything)],
    ["'types'", (disk) => flushOn(disk, new EventTarget() as Anything)],
    ["'device'", () => withCallbacks({} as Anything)],
    ["'done'", (disk) => withCallbacks(disk).flush(undefined as Anything)],
    ["'format'", (disk) => exportInto({} as Anything, disk, disk.node, { format: 'vmdk' } as Anything)],
    ["'signal'", (disk) => exportInto({} as Anything, disk, disk.node, { signal: {} } as Anything)],
    ["'file'", (disk) => exportInto({} as Anything, disk, {} as Anything)],
  ])('refuse %s (%#)', async (word, run) => {
    await refused(() => run(open()), word)
  })
})

const emulator = (): Anything => {
  const fail = (): never => expect.fail('nothing is stopped')
  return { is_running: fail, run: fail, stop: fail, save_state: fail }
}

describe('a disk', () => {
  it('says what it is', async () => {
    const disk = open()
    expect(inspect(disk)).toBe(`V86Disk of node 'memory' (memory)\n  ${SIZE} bytes, open, write-back`)
    expect(JSON.parse(JSON.stringify(disk))).toMatchObject({
      size: SIZE,
      state: 'open',
      node: { driver: 'memory' },
    })
    await disk.close()
  })

  it('that could not close its node says so whenever it is asked', async () => {
    const disk = open()
    const failure = new Error('the medium is gone')
    opsOf(disk.node).close = () => Promise.reject(failure)
    for (let time = 0; time < 3; time++) await expect(disk.close()).rejects.toBe(failure)
    await expect(disk[Symbol.asyncDispose]()).rejects.toBe(failure)
  })
})
