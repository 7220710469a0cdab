/** Exported disks: their content, writes of the guest meanwhile, and the verdict of the real programs. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AnyDriver, type BlockNode, formatImage, openMemory, openNode } from '@vmblock/block-core'
import { createRandom, nodeOf } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { haveQemu, openBench } from '../../../../tests/support/real-qemu.ts'
import type { V86Disk } from '../machine/v86-disk.ts'
import { type NodeJsDiskSource, nodeJsEnvironment, v86Disk } from '../node-js.ts'
import { type ExportOptions, exportInto } from './export-image.ts'

const SIZE = 4 * 2 ** 20
const environment = nodeJsEnvironment()
const kit = { environment, imageDriver: qcow2 as AnyDriver }

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-v86-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const path = (name: string): string => join(directory, name)

async function bytesOf(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size)
  await node.read(0, bytes)
  return bytes
}

/** The content of the base: data, and holes. */
const BASE = new Uint8Array(SIZE)
BASE.set(createRandom(1).bytes(300_000), 100_000)
const DATA = createRandom(2).bytes(200_192)

/** Opens an overlay and writes to it. @returns the disk, and its content as the guest sees it */
async function openOverlay(): Promise<{ readonly disk: V86Disk; readonly seen: Uint8Array }> {
  writeFileSync(path('base.raw'), BASE)
  const disk = await v86Disk({
    overlay: { file: path('mine.qcow2') },
    base: { file: path('base.raw'), format: 'raw' },
  })
  // These writes are still queued, and not awaited.
  expect([disk.writeSync(4000, DATA.subarray(0, 512)), disk.writeSync(500, DATA)]).toEqual([true, true])
  const seen = BASE.slice()
  seen.set(DATA, 500 * 512)
  seen.set(DATA.subarray(0, 512), 4000 * 512)
  return { disk, seen }
}

async function exported(disk: V86Disk, options: ExportOptions): Promise<Uint8Array> {
  const file = openMemory(new Uint8Array(0))
  await exportInto(kit, disk, file, options)
  return bytesOf(file)
}

async function using<T>(source: NodeJsDiskSource, run: (disk: V86Disk) => Promise<T>): Promise<T> {
  const disk = await v86Disk(source)
  try {
    return await run(disk)
  } finally {
    await disk.close()
  }
}

/** The content of the disk in an image. */
const diskIn = (name: string, format: string, backing?: string): Promise<Uint8Array> =>
  using(
    {
      driver: format,
      file: { driver: 'file', filename: path(name) },
      backing:
        backing === undefined ? null : { driver: 'raw', file: { driver: 'file', filename: path(backing) } },
    },
    ({ node }) => bytesOf(node),
  )

describe('an exported disk', () => {
  it.each(['qcow2', 'raw'] as const)('as %s holds all that the guest sees', async (format) => {
    const { disk, seen } = await openOverlay()
    writeFileSync(path('whole'), await exported(disk, { format }))
    const options = format === 'raw' ? readFileSync(path('whole')) : await diskIn('whole', 'qcow2')
    expect(Buffer.from(seen).equals(options)).toBe(true)
    await disk.close()
  })

  it('as it is holds what was written over the base, is clean, and names its base as it is told to', async () => {
    const { disk, seen } = await openOverlay()
    for (const [name, backingFile] of [
      ['plain', undefined],
      ['named', { name: 'elsewhere.raw', format: 'raw' }],
    ] as const) {
      writeFileSync(
        path(name),
        await exported(disk, { format: 'as-is', ...(backingFile && { backingFile }) }),
      )
      const image = readFileSync(path(name))
      // The open image is marked dirty, and longer than needed; the copy is neither.
      expect([readFileSync(path('mine.qcow2'))[79], image[79]]).toEqual([1, 0])
      expect(Buffer.from(seen).equals(await diskIn(name, 'qcow2', 'base.raw'))).toBe(true)
      expect([statSync(path('mine.qcow2')).size > 2 ** 24, image.length < SIZE]).toEqual([true, true])
      expect(image.includes(backingFile?.name ?? 'base.raw')).toBe(true)
    }
    await disk.close()
  })

  it.skipIf(!haveQemu)('is sound and the same to the real programs', async () => {
    const bench = openBench()
    try {
      const { disk, seen } = await openOverlay()
      for (const format of ['qcow2', 'raw', 'as-is'] as const)
        bench.write(`disk.${format}`, await exported(disk, { format }))
      await disk.close()
      bench.write('base.raw', BASE)
      bench.write('seen.raw', seen)
      for (const name of ['disk.qcow2', 'disk.as-is']) {
        if (name === 'disk.as-is')
          bench.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', name)
        expect(bench.run('qemu-img', 'check', '-f', 'qcow2', name)).toContain('No errors')
        bench.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', name, 'seen.raw')
      }
      bench.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'disk.raw', 'seen.raw')
    } finally {
      bench.remove()
    }
  })

  it('is the disk of one moment: what is written meanwhile waits, and is not lost', async () => {
    const size = 12 * 2 ** 20
    const before = createRandom(4).bytes(size)
    const disk = await v86Disk({ memory: before.slice() }, { writeBuffer: 2 * size })
    const later = createRandom(3).bytes(2 ** 20)
    let asked = false
    const image = await exported(disk, {
      format: 'raw',
      onProgress: () => {
        // Writes from the end of the disk backwards, where the copy has not been yet.
        if (!asked)
          for (let at = size - later.length; at >= 0; at -= later.length) void disk.write(at / 512, later)
        asked = true
      },
    })
    expect([asked, Buffer.from(before).equals(image)]).toEqual([true, true])
    await disk.flush()
    const now = await bytesOf(disk.node)
    for (let at = 0; at < size; at += later.length)
      expect(Buffer.from(later).equals(now.subarray(at, at + later.length))).toBe(true)
    await disk.close()
  })

  it('as it is holds also what came after the flush, and before its moment', async () => {
    const { disk, seen } = await openOverlay()
    const late = DATA.subarray(512, 1024)
    disk.once('flushed', () => disk.writeSync(6000, late))
    writeFileSync(path('copy'), await exported(disk, { format: 'as-is' }))
    seen.set(late, 6000 * 512)
    expect(Buffer.from(seen).equals(await diskIn('copy', 'qcow2', 'base.raw'))).toBe(true)
    await disk.close()
  })

  it('pauses the emulator meanwhile, and only then', async () => {
    const { disk } = await openOverlay()
    for (const isRunning of [true, false]) {
      const log: string[] = []
      const emulator = {
        is_running: () => isRunning,
        stop: async () => void log.push('stop'),
        run: async () => void log.push('run'),
      }
      await exported(disk, { format: 'raw', emulator, onProgress: () => log.push('copy') })
      expect([...new Set(log)]).toEqual(isRunning ? ['stop', 'copy', 'run'] : ['copy'])
      const failing = nodeOf({ size: () => 0, read: () => Promise.resolve() })
      log.length = 0
      await expect(exportInto(kit, disk, failing, { emulator })).rejects.toThrow()
      expect(log).toEqual(isRunning ? ['stop', 'run'] : [])
    }
    await disk.close()
  })

  it('of a raw image, and of one that is open for reading, is the file', async () => {
    writeFileSync(path('base.raw'), BASE)
    await using({ file: path('base.raw'), format: 'raw' }, async (disk) =>
      expect(Buffer.from(await exported(disk, { format: 'as-is' })).equals(BASE)).toBe(true),
    )
    await using({ file: path('new.qcow2'), size: SIZE }, (disk) => disk.write(0, DATA))
    const before = readFileSync(path('new.qcow2'))
    await using({ file: path('new.qcow2'), readOnly: true }, async (disk) =>
      expect(before.equals(await exported(disk, { format: 'as-is' }))).toBe(true),
    )
  })

  it('ends when it is told to, and refuses what makes no sense', async () => {
    const { disk } = await openOverlay()
    const end = new AbortController()
    end.abort(new Error('enough'))
    for (const format of ['qcow2', 'raw', 'as-is'] as const)
      await expect(exported(disk, { format, signal: end.signal })).rejects.toThrow('enough')
    const backingFile = { name: 'x', format: 'raw' }
    await expect(exported(disk, { backingFile })).rejects.toMatchObject({ code: 'EINVAL' })
    await disk.write(0, DATA.subarray(0, 512))
    await disk.close()
    await using({ file: path('base.raw'), format: 'raw' }, (raw) =>
      expect(exported(raw, { format: 'as-is', backingFile })).rejects.toMatchObject({ code: 'EINVAL' }),
    )
    const data = openMemory(new Uint8Array(0))
    const file = openMemory(new Uint8Array(0))
    await formatImage(qcow2, file, { size: SIZE, dataFile: 'data' }, data)
    const node = await openNode(environment, { driver: 'qcow2', file, 'data-file': data })
    await using(node, async (two) => {
      await expect(exported(two, { format: 'as-is' })).rejects.toMatchObject({ code: 'ENOTSUP' })
    })
    await node.close()
  })
})
