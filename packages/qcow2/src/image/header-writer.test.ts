/** Changes of the header: which bytes are written, in which order, and what counts when a write fails. */
import { describe, expect, test } from 'vitest'
import { noExtensions } from '../format/extensions.ts'
import { Incompatible } from '../format/features.ts'
import type { Header } from '../format/header.ts'
import { headerFieldBytes } from '../format/header-layout.ts'
import { serializeHeader } from '../format/serialize-header.ts'
import { CLUSTER, headerIn, plainHeader } from '../testing/plain-header.ts'
import { assumingField } from './assume-header.ts'
import { HeaderWriter } from './header-writer.ts'
import { Roots } from './roots.ts'

const PLAIN: Header = { ...plainHeader(), backingFile: 'base', size: 2 ** 30, l1Size: 2 }

/** As it is read. */
const read: Header = await headerIn(serializeHeader(PLAIN, CLUSTER))
const header = (): Header => ({ ...read })

/** An image whose file takes writes, and fails the next one on demand. */
class Disk {
  readonly steps: string[] = []
  readonly bytes = serializeHeader(header(), CLUSTER)
  readonly geometry = { clusterSize: CLUSTER }
  readonly roots = new Roots()
  readonly writer = new HeaderWriter(this, header())
  fails: 'write' | 'flush' | undefined
  /** Called in the middle of a flush. */
  meanwhile = (): void => undefined

  readonly file = {
    write: async (offset: number, from: Uint8Array): Promise<void> => {
      this.steps.push(`write ${offset} ${from.length}`)
      if (this.fails === 'write') throw new Error('failed')
      this.bytes.set(from, offset)
    },
  }

  async flushFile(): Promise<void> {
    this.steps.push('flush')
    await Promise.resolve()
    this.meanwhile()
    if (this.fails === 'flush') throw new Error('failed')
  }

  loadMaintenance = async () => ({ serializeHeader })

  get stored(): Promise<Header> {
    return headerIn(this.bytes)
  }
}

describe('a change of fields', () => {
  test('writes exactly these, then flushes, and counts only then', async () => {
    const disk = new Disk()
    const { writer } = disk
    disk.meanwhile = () => expect(writer.header.l1Size).toBe(2)
    await writer.change({ l1TableOffset: 2 ** 33 + 5 * CLUSTER, l1Size: 9 })
    expect(disk.steps).toEqual(['write 36 12', 'flush'])
    expect(await disk.stored).toEqual({ ...header(), l1Size: 9, l1TableOffset: 2 ** 33 + 5 * CLUSTER })
    expect(writer.header).toMatchObject({ l1Size: 9, l1TableOffset: 2 ** 33 + 5 * CLUSTER })
  })

  test.each(['write', 'flush'] as const)(
    'that fails at its %s is taken back by the next flush',
    async (step) => {
      const disk = new Disk()
      disk.fails = step
      await expect(disk.writer.change({ nbSnapshots: 3 })).rejects.toThrow('failed')
      expect(disk.writer.header).toEqual(header())
      disk.fails = undefined
      await disk.roots.rewriteUnsure()
      expect(await disk.stored).toEqual(header())
      disk.steps.length = 0
      await disk.roots.rewriteUnsure()
      expect(disk.steps).toEqual([])
    },
  )

  test('is not written again if either state is valid', async () => {
    const disk = new Disk()
    disk.fails = 'flush'
    await expect(disk.writer.setFeature(Incompatible.dirty, true, 'either is valid')).rejects.toThrow(
      'failed',
    )
    expect(disk.writer.header.incompatible).toBe(0n)
    disk.steps.length = 0
    await disk.roots.rewriteUnsure()
    expect(disk.steps).toEqual([])
  })

  test.each([
    [{ size: 1 }, 24, 8],
    [{ incompatible: 1n }, 72, 8],
    [{ nbSnapshots: 1, snapshotsOffset: CLUSTER }, 60, 12],
    [{ refcountTableClusters: 1, l1TableOffset: 0, refcountTableOffset: 0 }, 40, 20],
    [{ snapshotsOffset: 0, incompatible: 0n }, 64, 16],
  ])('to %o is one range', (fields, offset, bytes) => {
    expect(headerFieldBytes(fields)).toMatchObject({ offset, bytes: { length: bytes } })
  })

  test('of fields that are not neighbours is a mistake', () => {
    expect(() => headerFieldBytes({ size: 1, l1Size: 1 })).toThrow('not neighbours')
  })
})

test('a feature bit leaves bits alone that change meanwhile', async () => {
  const disk = new Disk()
  disk.meanwhile = () => disk.writer.assumeFeature(Incompatible.corrupt, true)
  await disk.writer.setFeature(Incompatible.dirty, true)
  expect(disk.writer.header.incompatible).toBe(Incompatible.dirty | Incompatible.corrupt)
})

test('a rewritten header has its name and extensions, too', async () => {
  const disk = new Disk()
  const extensions = { ...noExtensions(), backingFormat: 'raw' }
  await disk.writer.rewrite({ backingFile: 'other', extensions })
  expect(disk.steps).toEqual(['write 0 4096', 'flush'])
  expect(await disk.stored).toMatchObject({ backingFile: 'other', extensions: { backingFormat: 'raw' } })
  disk.fails = 'write'
  await expect(disk.writer.rewrite({ backingFile: 'third' })).rejects.toThrow('failed')
  expect(disk.writer.header.backingFile).toBe('other')
})

test('a header whose code cannot be loaded stays as it is, and nothing has to be written again', async () => {
  const disk = new Disk()
  disk.loadMaintenance = () => Promise.reject(new Error('offline'))
  await expect(disk.writer.rewrite({ backingFile: 'other' })).rejects.toThrow('offline')
  await disk.roots.rewriteUnsure()
  expect(disk.steps).toEqual([])
  expect(disk.writer.header).toEqual(header())
})

test('fields whose write failed are written again without that code', async () => {
  const disk = new Disk()
  disk.loadMaintenance = () => Promise.reject(new Error('offline'))
  disk.fails = 'flush'
  await expect(disk.writer.change({ l1TableOffset: 5 * CLUSTER, l1Size: 9 })).rejects.toThrow('failed')
  await expect(disk.writer.setFeature(Incompatible.corrupt, true)).rejects.toThrow('failed')
  disk.fails = undefined
  disk.steps.length = 0
  await disk.roots.rewriteUnsure()
  expect(disk.steps).toEqual(['write 36 12', 'write 72 8'])
  expect(await disk.stored).toEqual(header())
})

test('an assumed field is only in memory, and gone after a failure', async () => {
  const disk = new Disk()
  const { writer } = disk
  const failing = assumingField(writer, 'size', 512, async () => {
    expect(writer.header.size).toBe(512)
    throw new Error('failed')
  })
  await expect(failing).rejects.toThrow('failed')
  expect(writer.header).toEqual(header())
  expect(await assumingField(writer, 'size', 512, async () => 'done')).toBe('done')
  expect(writer.header.size).toBe(512)
  expect(disk.steps).toEqual([])
})
