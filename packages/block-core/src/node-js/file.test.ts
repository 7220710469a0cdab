import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { opsOf } from '../graph/node-internals.ts'
import type { RawOptions } from '../text/options.ts'
import { file } from './file.ts'
import { descriptorsOf, openFile, ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())
const newFile = (content?: string | Uint8Array): string => scratch.newFile(content)
const takesDirect = await scratch.takesDirect()

/** Numbers from 0 up to a bound, the same ones for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 48271) % 2147483647
    return state % below
  }
}

const MODES: readonly (readonly [name: string, options: RawOptions])[] = [
  ['aio=sync', { aio: 'sync' }],
  ['aio=threads', { aio: 'threads' }],
  ['aio=adaptive', { aio: 'adaptive' }],
  ['aio=io_uring', { aio: 'io_uring' }],
  ...(takesDirect
    ? ([
        ['cache.direct=on, aio=native', { cache: { direct: true }, aio: 'native' }],
        ['cache.direct=on, aio=threads', { cache: { direct: true }, aio: 'threads' }],
      ] as const)
    : []),
]

describe('bytes', () => {
  it.each(MODES)('%s: a thousand random requests leave what a byte array has', async (_, options) => {
    const SIZE = 600_000
    const path = newFile(new Uint8Array(12_345).fill(0xee))
    // O_DIRECT may end the file at the next full block.
    const model = new Uint8Array(SIZE + 4096)
    model.fill(0xee, 0, 12_345)
    const random = randomFrom(2024)
    const node = await openFile(path, options)
    for (let step = 0; step < 1000; step++) {
      const offset = random(SIZE - 1)
      const bytes = 1 + random(Math.min(SIZE - offset, random(10) === 0 ? 300_000 : 9_000))
      const kind = random(20)
      if (kind < 8) {
        const data = new Uint8Array(bytes).map(() => random(256))
        await node.write(offset, data)
        model.set(data, offset)
      } else if (kind < 10) {
        await node.writeZeroes(offset, bytes)
        model.fill(0, offset, offset + bytes)
      } else if (kind < 11 && offset > node.size) {
        await node.truncate(offset)
      } else {
        const into = new Uint8Array(bytes).fill(0x11)
        await node.read(offset, into)
        expect(Buffer.compare(into, model.subarray(offset, offset + bytes))).toBe(0)
      }
    }
    await node.flush()
    const { size } = node
    await node.close()
    const content = readFileSync(path)
    expect(content.length).toBe(size)
    expect(Buffer.compare(content, model.subarray(0, size))).toBe(0)
    expect(descriptorsOf(path)).toBe(0)
  })

  it.each(MODES)('%s: 64 requests at once, large and small, do not mix', async (_, options) => {
    const path = newFile('')
    const node = await openFile(path, options)
    const pieces = Array.from({ length: 64 }, (__, index) =>
      new Uint8Array(index % 3 === 0 ? 262_144 : 4096).fill(index + 1),
    )
    await Promise.all(pieces.map((piece, index) => node.write(index * 262_144, piece)))
    const back = pieces.map((piece) => new Uint8Array(piece.length))
    await Promise.all(back.map((piece, index) => node.read(index * 262_144, piece)))
    expect(back.every((piece, index) => piece.every((byte) => byte === index + 1))).toBe(true)
    expect(node.size).toBe(63 * 262_144 + 262_144)
    await node.close()
  })

  it.each(MODES)('%s: reads beyond the end give zeroes', async (_, options) => {
    const node = await openFile(newFile('abc'), { ...options, readOnly: true })
    const into = new Uint8Array(8).fill(0xff)
    await node.read(1, into)
    expect([...into]).toEqual([98, 99, 0, 0, 0, 0, 0, 0])
    into.fill(0xff)
    await node.read(1_000_000, into)
    expect([...into]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
    await node.close()
  })
})

describe('opening', () => {
  it('says what QEMU says of a missing file, a directory and a device', async () => {
    const missing = newFile()
    await expect(openFile(missing)).rejects.toMatchObject({
      code: 'ENOENT',
      message: `Could not open '${missing}': No such file or directory`,
    })
    const folder = newFile()
    mkdirSync(folder)
    await expect(openFile(folder)).rejects.toMatchObject({
      code: 'EISDIR',
      message: `Could not open '${folder}': Is a directory`,
    })
    await expect(openFile(folder, { readOnly: true })).rejects.toMatchObject({
      code: 'EINVAL',
      message: `'file' driver requires '${folder}' to be a regular file`,
    })
    await expect(openFile('/dev/null')).rejects.toMatchObject({
      message: `'file' driver requires '/dev/null' to be a regular file`,
    })
    expect(descriptorsOf(folder)).toBe(0)
  })

  it.skipIf(process.getuid?.() === 0)('says what QEMU says of a file that may not be written', async () => {
    const path = newFile('x')
    chmodSync(path, 0o444)
    await expect(openFile(path)).rejects.toMatchObject({
      code: 'EACCES',
      message: `Could not open '${path}': Permission denied`,
    })
  })

  it('refuses options that it cannot honour', async () => {
    const path = newFile('x')
    await expect(openFile(path, { locking: 'on' }, { hostCalls: {} })).rejects.toMatchObject({
      code: 'ENOTSUP',
      message:
        'locking=on was specified, but this system has no file locks, or the package koffi is not installed',
    })
    await expect(openFile(path, { aio: 'native' })).rejects.toThrow(
      'aio=native was specified, but it requires cache.direct=on, which was not specified.',
    )
    await expect(openFile(path, { aio: 'fast' })).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(openFile('')).rejects.toThrow(`The 'file' block driver requires a file name`)
    expect(descriptorsOf(path)).toBe(0)
  })

  it('strips its prefix, and what then looks like another one is a path', () => {
    expect(file.parseFilename?.('file:/tmp/x')).toEqual({ filename: '/tmp/x' })
    expect(file.parseFilename?.('file:nbd:x')).toEqual({ filename: './nbd:x' })
  })

  it('opens for reading alone when asked to', async () => {
    const node = await openFile(newFile('x'), { readOnly: true })
    // The core refuses first; the host would refuse too.
    await expect(opsOf(node).write?.(0, new Uint8Array(1), {})).rejects.toBeInstanceOf(BlockError)
    await node.close()
  })

  it('is not held up by a pipe without a writer', async () => {
    const path = newFile()
    execFileSync('mkfifo', [path])
    await expect(openFile(path, { readOnly: true })).rejects.toThrow('to be a regular file')
  })
})

describe('creating', () => {
  const options = (filename: string) => ({ filename, aio: 'adaptive', locking: 'auto' }) as const

  it('makes a file of a size, or empties one, and allocates its first block only', async () => {
    const path = newFile('something that was there before')
    await file.createFile?.(options(path), 1_048_576, 'off')
    const { size, blocks } = statSync(path)
    expect(size).toBe(1_048_576)
    expect(blocks * 512).toBeLessThanOrEqual(8192)
    expect(readFileSync(path).every((byte) => byte === 0)).toBe(true)
    await file.createFile?.(options(path), 0, 'off')
    expect(statSync(path).size).toBe(0)
    await file.createFile?.(options(path), 100_000, 'full')
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(100_000)
    expect(descriptorsOf(path)).toBe(0)
  })

  it('says what QEMU says when it cannot', async () => {
    await expect(file.createFile?.(options(scratch.directory), 0, 'off')).rejects.toMatchObject({
      code: 'EISDIR',
      message: `Could not create '${scratch.directory}': Is a directory`,
    })
    const path = join(newFile(), 'x')
    await expect(file.createFile?.(options(path), 0, 'off')).rejects.toMatchObject({
      code: 'ENOENT',
      message: `Could not create '${path}': No such file or directory`,
    })
    const kept = newFile('kept')
    await expect(file.createFile?.(options(kept), 10, 'metadata')).rejects.toThrow(
      'Unsupported preallocation mode: metadata',
    )
    expect(readFileSync(kept, 'latin1')).toBe('kept')
  })
})
