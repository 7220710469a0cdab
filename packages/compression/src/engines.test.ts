/** Every engine of zstd keeps the same contract: compiled for the processor, where there is one, WebAssembly, and Node's own module. */
import { inflateRawSync } from 'node:zlib'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { koffiFile } from './node-js/koffi-file.ts'
import { type ForeignFunctions, findNative, type NativeZstd, openNative } from './node-js/native-zstd.ts'
import { ZSTD } from './shared/zstd-binary.ts'
import { makeZstd, type Zstd } from './shared/zstd-instance.ts'

const native = findNative(koffiFile)
const wasm = await makeZstd(await WebAssembly.compile(inflateRawSync(Buffer.from(ZSTD, 'base64'))))
const block = new Uint8Array(65536).map((_, i) => (i * 7919) >> 5)

describe.each<[string, Zstd | undefined]>([
  ['compiled', native?.zstd],
  ['in WebAssembly', wasm],
])('zstd %s', (_, zstd) => {
  it.runIf(zstd)('reads what the other wrote, at any place of a buffer, in every turn', async () => {
    for (const other of [wasm, zstd!]) {
      const room = new Uint8Array(70_000)
      const bytes = other.compress(block, room.subarray(100, 65_636))
      expect(bytes).toBeLessThan(20_000)
      for (const buffer of [new ArrayBuffer(70_000), new SharedArrayBuffer(70_000)]) {
        const into = new Uint8Array(buffer, 64, 65_536)
        expect(zstd!.decompress(room.subarray(100, 100 + bytes), into)).toBe(65_536)
        expect(Buffer.compare(into, block)).toBe(0)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
  })

  it.runIf(zstd)('refuses what is broken, or larger than the room, and writes nothing behind it', () => {
    const room = new Uint8Array(65_536)
    const data = room.slice(0, zstd!.compress(block, room))
    const guarded = new Uint8Array(65_536)
    expect(() => zstd!.decompress(data, guarded.subarray(0, 65_535))).toThrow(/broken \(error 70\)/)
    expect(guarded[65_535]).toBe(0)
    for (let at = 4; at < data.length; at += 97) {
      const broken = data.slice()
      broken.fill(0xff, at, at + 40)
      try {
        expect(zstd!.decompress(broken, guarded)).toBeLessThanOrEqual(65_536)
      } catch (error) {
        expect((error as Error).message).toMatch(/^The zstd data is broken \(error \d+\)$/)
      }
    }
    expect(() => zstd!.decompress(data.subarray(0, 200), guarded)).toThrow('broken')
    expect(zstd!.decompress(data, guarded)).toBe(65_536)
  })

  it.runIf(zstd)('says of what does not get smaller that it has all its bytes', () => {
    const noise = crypto.getRandomValues(new Uint8Array(4096))
    expect(zstd!.compress(noise, new Uint8Array(4096))).toBe(4096)
  })
})

describe('compiled zstd', () => {
  it('is not there without koffi, or with a library that is too old', () => {
    const missing = (): string => {
      throw new Error("Cannot find module 'koffi'")
    }
    expect(findNative(missing)).toBeUndefined()
    const old: ForeignFunctions = { load: () => ({ func: () => () => 10_308 }) }
    expect(() => openNative(old, null)).toThrow('zstd 10308 is too old')
  })
})

describe('the codec', () => {
  afterEach(() => {
    vi.doUnmock('./node-js/native-zstd.ts')
    vi.resetModules()
  })

  const elsewhere: NativeZstd = { zstd: wasm, place: { koffi: '/nowhere/koffi.js', library: null } }
  it.each<[string, NativeZstd | undefined]>([
    ['without compiled zstd', undefined],
    ['whose threads cannot load it', elsewhere],
  ])('%s does the same in WebAssembly', async (_, found) => {
    vi.resetModules()
    vi.doMock('./node-js/native-zstd.ts', () => ({ findNative: () => found, openNative }))
    const codec = await import('./node-js/zstd.ts')
    const data = await codec.compress(block)
    expect(Buffer.compare(await codec.decompress(data!, 65_536), block)).toBe(0)
    const large = new Uint8Array(2 ** 18).fill(5)
    expect(Buffer.compare(await codec.decompress((await codec.compress(large))!, 2 ** 18), large)).toBe(0)
    await expect(codec.decompress(data!.subarray(0, 100), 65_536)).rejects.toThrow()
  })
})
