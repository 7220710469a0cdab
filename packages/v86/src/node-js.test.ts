/** The sources of disks in Node.js: paths, new images, overlays, memory. */
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { formatImage, openMemory } from '@vmblock/block-core'
import { nodeHost } from '@vmblock/block-core/node'
import { FOREIGN_FILES, FORMATS_WITH_DRIVER } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { V86Disk } from './machine/v86-disk.ts'
import { type NodeJsDiskSource, v86Disk } from './node-js.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-v86-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const path = (name: string): string => join(directory, name)

const sector = (value: number): Uint8Array => new Uint8Array(512).fill(value)

async function first(disk: V86Disk, at = 0): Promise<number> {
  const into = new Uint8Array(512)
  await disk.read(at, into)
  return into[0]!
}

/** Opens a disk, runs `run`, and closes it. */
async function using<T>(source: NodeJsDiskSource, run: (disk: V86Disk) => Promise<T>): Promise<T> {
  const disk = await v86Disk(source)
  try {
    return await run(disk)
  } finally {
    await disk.close()
  }
}

describe('v86Disk in Node', () => {
  it('takes a path, and finds out the format', async () => {
    writeFileSync(path('raw.img'), new Uint8Array(1024).fill(5))
    expect(await using(path('raw.img'), (disk) => first(disk, 1))).toBe(5)
    await using({ file: path('raw.img') }, (disk) => disk.write(1, sector(6)))
    expect(readFileSync(path('raw.img'))[512]).toBe(6)
  })

  it('makes an image that is not there, with lazy refcounts, and keeps one that is', async () => {
    const source = { file: path('new.qcow2'), size: '16M' }
    await using(source, (disk) => disk.write(3, sector(7)))
    expect(readFileSync(path('new.qcow2')).subarray(0, 4).toString('latin1')).toBe('QFI\xfb')
    await using(source, async (disk) => {
      expect([disk.byteLength, await first(disk, 3)]).toEqual([2 ** 24, 7])
      expect((await disk.node.info()).formatSpecific?.data['lazy-refcounts']).toBe(true)
    })
  })

  it('takes a URL for the file that it names, and says of others what they are', async () => {
    writeFileSync(path('a b.img'), new Uint8Array(1024).fill(5))
    const url = pathToFileURL(path('a b.img'))
    expect(url.href).toContain('a%20b')
    expect(await using(url, (disk) => first(disk))).toBe(5)
    expect(await using({ file: url }, (disk) => first(disk))).toBe(5)
    const overlay = { file: pathToFileURL(path('over c.qcow2')) }
    await using({ overlay, base: { file: url, format: 'raw' } }, (disk) => disk.write(1, sector(6)))
    expect(await using(path('over c.qcow2'), (disk) => first(disk))).toBe(5)
    for (const bad of [
      new URL('ftp://example.org/x'),
      { file: new URL('blob:x') },
      { file: new URL('file://host/x') },
    ])
      await expect(v86Disk(bad)).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it('gives bases and overlays with a colon in them names that are no protocols', async () => {
    const cwd = process.cwd()
    process.chdir(directory)
    try {
      for (const [overlay, base] of [
        ['ov.qcow2', 'base-2024-01-01T10:00:00.raw'],
        ['snap-10:30.qcow2', 'base.raw'],
        ['both-10:30.qcow2', 'C:base.raw'],
        ['file:ov.qcow2', 'json:{}'],
      ] as const) {
        writeFileSync(base, new Uint8Array(1024).fill(0x33))
        const source = { overlay: { file: overlay }, base: { file: base, format: 'raw' } }
        await using(source, async (disk) => {
          expect((await disk.node.info()).backingFilename).toBe(base.includes(':') ? `./${base}` : base)
        })
        expect([overlay, await using(overlay, (disk) => first(disk))]).toEqual([overlay, 0x33])
      }
    } finally {
      process.chdir(cwd)
    }
  })

  it('names a base from where the overlay really lies', async () => {
    mkdirSync(path('real/deep'), { recursive: true })
    mkdirSync(path('bases'))
    symlinkSync(path('real/deep'), path('link'))
    writeFileSync(path('bases/base.raw'), new Uint8Array(1024).fill(8))
    const cwd = process.cwd()
    process.chdir(directory)
    try {
      await using(
        { overlay: { file: 'link/ov.qcow2' }, base: { file: 'bases/base.raw', format: 'raw' } },
        async (disk) => {
          expect((await disk.node.info()).backingFilename).toBe('../../bases/base.raw')
        },
      )
    } finally {
      process.chdir(cwd)
    }
  })

  it('opens the file that json: or file: names beside an image, and says of others what they are', async () => {
    writeFileSync(path('base.raw'), new Uint8Array(1024).fill(7))
    const over = async (name: string): Promise<string> => {
      const file = openMemory(new Uint8Array(0))
      await formatImage(qcow2, file, { size: 1024, backingFile: name, backingFmt: 'raw' })
      const bytes = new Uint8Array(file.size)
      await file.read(0, bytes)
      writeFileSync(path('over.qcow2'), bytes)
      return path('over.qcow2')
    }
    const json = 'json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}'
    for (const name of ['file:base.raw', json])
      expect(await using(await over(name), (disk) => first(disk))).toBe(7)
    for (const name of [
      'nbd:localhost:1',
      'json:{"driver":"nbd","host":"x"}',
      'file:/etc/passwd',
      'C:\\base.raw',
    ])
      await expect(v86Disk(await over(name))).rejects.toMatchObject({ code: 'EACCES' })
  })

  it('does not leave a file behind that could not be made an image', async () => {
    await expect(v86Disk({ file: path('bad.qcow2'), size: 'much' })).rejects.toThrow()
    expect(() => readFileSync(path('bad.qcow2'))).toThrow('ENOENT')
    await expect(v86Disk({ file: path('none.img') })).rejects.toThrow('none.img')
  })

  describe('leaves nothing behind', () => {
    const nothing = (): void => expect(readdirSync(directory)).toEqual([])

    it.each([
      ['3T', 'EFBIG'],
      [2 ** 41, 'EFBIG'],
      [0, 'EINVAL'],
      ['0', 'EINVAL'],
      [1000, 'EINVAL'],
      ['1.5b', 'EINVAL'],
      [-512, 'EINVAL'],
      [Number.NaN, 'EINVAL'],
      [512.5, 'EINVAL'],
      [Number.POSITIVE_INFINITY, 'EINVAL'],
      ['much', 'EINVAL'],
      ['', 'EINVAL'],
    ])('of a size of %s', async (size, code) => {
      await expect(v86Disk({ file: path('d'), size })).rejects.toMatchObject({ code })
      nothing()
      const overlay = { file: path('d'), size }
      await expect(v86Disk({ overlay, base: { memory: 1024 } })).rejects.toMatchObject({ code })
      nothing()
      await using({ file: path('d'), size: '1M' }, async (disk) => expect(disk.byteLength).toBe(2 ** 20))
      await expect(v86Disk({ file: path('d'), size })).rejects.toMatchObject({ code })
      expect(readdirSync(directory)).toEqual(['d'])
    })

    it('over a base that no drive can have', async () => {
      const overlay = { file: path('o') }
      for (const memory of [3 * 2 ** 40, 0])
        await expect(v86Disk({ overlay, base: { memory } })).rejects.toBeInstanceOf(Error)
      await expect(v86Disk({ overlay, base: { file: path('none') } })).rejects.toMatchObject({
        code: 'ENOENT',
      })
      nothing()
    })

    it('where a base was made, and the overlay cannot be', async () => {
      const base = { file: path('base'), size: '1M' }
      await expect(v86Disk({ overlay: { file: path('no/o') }, base })).rejects.toMatchObject({
        code: 'ENOENT',
      })
      nothing()
    })

    it('of a disk whose options make no sense, but what was there', async () => {
      const options = { blockSize: 3 }
      await expect(v86Disk({ file: path('d'), size: '1M' }, options)).rejects.toMatchObject({
        code: 'EINVAL',
      })
      const overlay = { file: path('o') }
      const base = { memory: 1024 }
      await expect(v86Disk({ overlay, base }, options)).rejects.toMatchObject({ code: 'EINVAL' })
      nothing()
      await using({ overlay, base }, (disk) => disk.write(0, sector(9)))
      await expect(v86Disk({ overlay, base }, options)).rejects.toMatchObject({ code: 'EINVAL' })
      expect(await using({ overlay, base }, (disk) => first(disk))).toBe(9)
    })

    it('of an image that a format was named for which it has not', async () => {
      await expect(v86Disk({ file: path('d'), size: '1M', format: 'qed' })).rejects.toBeInstanceOf(Error)
      nothing()
    })

    it('of a file that was begun, and empties no other', async () => {
      writeFileSync(path('d'), '')
      const bad = { blockSize: 3 }
      await expect(v86Disk({ file: path('d'), size: '1M' }, bad)).rejects.toMatchObject({ code: 'EINVAL' })
      expect(readFileSync(path('d'))).toHaveLength(0)
      await using({ file: path('d'), size: '1M' }, async (disk) => expect(disk.byteLength).toBe(2 ** 20))
    })
  })

  it('makes an overlay larger than its base, where that is asked for', async () => {
    const source = {
      overlay: { file: path('o'), size: '2M' },
      base: { memory: new Uint8Array(1024).fill(4) },
    }
    await using(source, async (disk) => {
      expect([disk.byteLength, await first(disk, 1), await first(disk, 2)]).toEqual([2 ** 21, 4, 0])
    })
  })

  it('keeps a file that is there already when something else goes wrong with it', async () => {
    writeFileSync(path('odd.img'), Buffer.from('QFI\xfb and nothing more', 'latin1'))
    await expect(v86Disk({ file: path('odd.img'), size: '1M' })).rejects.toThrow('version')
    expect(readFileSync(path('odd.img'))).toHaveLength(21)
  })

  it('opens read-only what shall not be written', async () => {
    writeFileSync(path('raw.img'), new Uint8Array(1024))
    await using({ file: path('raw.img'), readOnly: true, format: 'raw' }, async (disk) => {
      expect(disk.readOnly).toBe(true)
      await expect(disk.write(0, sector(1))).rejects.toMatchObject({ code: 'EPERM' })
    })
  })

  it('puts an overlay over a base, which stays as it is, and finds it again', async () => {
    mkdirSync(path('images'))
    writeFileSync(path('images/base.img'), new Uint8Array(65536).fill(1))
    const source = { overlay: { file: path('mine.qcow2') }, base: { file: path('images/base.img') } }
    await using(source, (disk) => disk.write(1, sector(2)))
    await using(source, async (disk) =>
      expect([await first(disk, 0), await first(disk, 1), disk.byteLength]).toEqual([1, 2, 65536]),
    )
    expect(readFileSync(path('images/base.img')).every((byte) => byte === 1)).toBe(true)
    // The overlay's header names the base, so that the overlay can be opened alone.
    expect(await using(path('mine.qcow2'), (disk) => first(disk, 0))).toBe(1)
    const { status, stdout } = spawnSync('qemu-img', ['check', path('mine.qcow2')], { encoding: 'utf8' })
    if (status !== null) expect(stdout).toContain('No errors')
  })

  it('an overlay in memory is gone with the disk; overlays can be put over overlays, and over open nodes', async () => {
    const base = openMemory(new Uint8Array(65536).fill(1))
    const middle = { overlay: { file: path('middle.qcow2') }, base }
    await using(middle, (disk) => disk.write(1, sector(2)))
    const top = { overlay: 'memory', base: middle } as const
    await using(top, async (disk) => {
      await disk.write(2, sector(3))
      expect([await first(disk, 0), await first(disk, 1), await first(disk, 2)]).toEqual([1, 2, 3])
    })
    expect(await using(top, (disk) => first(disk, 2))).toBe(1)
    expect(base.isOpen).toBe(true)
  })

  it('takes bytes, and a size, of memory', async () => {
    const bytes = new Uint8Array(1024).fill(4)
    expect(await using({ memory: bytes }, (disk) => first(disk, 1))).toBe(4)
    await using({ memory: 2 ** 20 }, async (disk) => {
      expect(disk.byteLength).toBe(2 ** 20)
      await disk.write(0, sector(1))
    })
    expect(bytes[0]).toBe(4)
  })

  it('takes no file of another format for a disk: as it is, as a base, below one that is there', async () => {
    for (const [format, , bytes] of FOREIGN_FILES) {
      if (FORMATS_WITH_DRIVER.has(format)) continue
      const name = path('foreign.img')
      writeFileSync(name, bytes)
      const refused = { code: 'ENOTSUP', message: expect.stringContaining(`'${format}'`) }
      const over = path('over.qcow2')
      for (const source of [name, { file: name }, { file: name, size: '1M' }, { memory: bytes.slice() }])
        await expect(v86Disk(source)).rejects.toMatchObject(refused)
      const overlays = [
        { overlay: { file: over }, base: { file: name } },
        { overlay: 'memory' as const, base: { memory: bytes.slice() } },
      ]
      for (const source of overlays) await expect(v86Disk(source)).rejects.toMatchObject(refused)
      expect(existsSync(over)).toBe(false)
      expect(new Uint8Array(readFileSync(name))).toEqual(bytes)
    }
  })

  it('takes options of a node', async () => {
    writeFileSync(path('raw.img'), new Uint8Array(1024).fill(5))
    const options = { driver: 'raw', file: { driver: 'file', filename: path('raw.img') } }
    expect(await using(options, (disk) => first(disk))).toBe(5)
    expect(await using({ driver: 'null-co', size: 512 }, (disk) => Promise.resolve(disk.byteLength))).toBe(
      512,
    )
  })

  it('says which sources are for browsers', async () => {
    for (const source of [{ opfs: 'x' }, { indexeddb: 'x' }])
      await expect(v86Disk(source as never)).rejects.toThrow('browsers')
  })

  it('lets an image name what lies beside it, and nothing else, unless it is told to', async () => {
    mkdirSync(path('inside'))
    writeFileSync(path('outside.img'), new Uint8Array(65536).fill(1))
    writeFileSync(path('inside/beside.img'), new Uint8Array(65536).fill(2))
    const make = (name: string, base: string): Promise<void> =>
      using({ overlay: { file: path(name) }, base: { file: path(base) } }, () => Promise.resolve())
    await make('inside/good.qcow2', 'inside/beside.img')
    await make('inside/bad.qcow2', 'outside.img')
    expect(await using(path('inside/good.qcow2'), (disk) => first(disk))).toBe(2)
    await expect(v86Disk(path('inside/bad.qcow2'))).rejects.toMatchObject({ code: 'EACCES' })
    const disk = await v86Disk(path('inside/bad.qcow2'), { host: nodeHost() })
    expect(await first(disk)).toBe(1)
    await disk.close()
  })

  it('frees space that the guest discards, and takes none for zeroes', async () => {
    await using({ file: path('new.qcow2'), size: '16M' }, async (disk) => {
      await disk.write(0, new Uint8Array(2 ** 20).fill(1))
      await disk.flush()
      const full = readFileSync(path('new.qcow2')).length
      await disk.discard(0, 2048)
      await disk.write(4096, new Uint8Array(2 ** 20))
      await disk.flush()
      const { allocatedClusters } = await disk.node.check()
      expect([full > 2 ** 20, allocatedClusters]).toEqual([true, 0])
    })
  })
})
