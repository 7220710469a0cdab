/** Snapshots of a disk that is used, and a snapshot opened alone. */
import { rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { create, open } from './node-js.ts'

const MIB = 2 ** 20
let directory: string
beforeAll(async () => {
  const { mkdtemp } = await import('node:fs/promises')
  directory = await mkdtemp(path.join(os.tmpdir(), 'vmblock-snapshots-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const bytes = (value: number): Uint8Array => new Uint8Array(4096).fill(value)

describe('disk.snapshots', () => {
  it('keep, show and bring back what the disk held', async () => {
    const name = path.join(directory, 'a.qcow2')
    await create(name, { format: 'qcow2', size: MIB })
    {
      await using disk = await open(name)
      await disk.write(0, bytes(1))
      const sizes: number[] = []
      disk.on('resize', (size) => sizes.push(size))
      const created = new Date('2020-02-03T04:05:06.789Z')
      const made = await disk.snapshots.create('before', { created, vmClock: 1.5 })
      expect(made).toEqual({ id: '1', name: 'before', created, size: MIB, vmStateSize: 0, vmClock: 1.5 })
      expect(await disk.snapshots.list()).toEqual([made])
      await disk.write(0, bytes(2))
      await disk.resize(2 * MIB)
      {
        await using before = await disk.snapshots.open('before')
        expect([before.size, before.readOnly, (await before.read(0, 1))[0]]).toEqual([MIB, true, 1])
        await expect(disk.snapshots.delete('before')).rejects.toMatchObject({ code: 'EBUSY' })
      }
      await disk.snapshots.create('after')
      await disk.snapshots.apply({ id: '1' })
      expect([disk.size, (await disk.read(0, 1))[0], sizes]).toEqual([MIB, 1, [2 * MIB, MIB]])
      await disk.snapshots.delete('before')
      expect((await disk.info()).snapshots.map(({ name }) => name)).toEqual(['after'])
      expect((await disk.check()).findings).toEqual([])
    }
    await using alone = await open(name, { snapshot: 'after' })
    expect([alone.size, alone.readOnly, (await alone.read(0, 1))[0]]).toEqual([2 * MIB, true, 2])
    await alone.close()
    await using again = await open(name)
    expect((await again.read(0, 1))[0]).toBe(1)
    await using shown = await open(again, { snapshot: { id: '2' } })
    expect((await shown.read(0, 1))[0]).toBe(2)
    await shown.close()
    expect(again.isOpen).toBe(true)
  })

  it('are refused where there are none, and with wrong arguments', async () => {
    const raw = path.join(directory, 'a.raw')
    await create(raw, { format: 'raw', size: MIB })
    await using disk = await open(raw, { format: 'raw' })
    expect(await disk.snapshots.list()).toEqual([])
    await expect(disk.snapshots.create('x')).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(disk.snapshots.open('x')).rejects.toMatchObject({ code: 'ENOTSUP' })
    const refused = (name: string) => ({ code: 'EINVAL', message: expect.stringContaining(`'${name}'`) })
    await expect(disk.snapshots.create(1 as never)).rejects.toMatchObject(refused('name'))
    await expect(disk.snapshots.create('a\0b')).rejects.toMatchObject(refused('name'))
    await expect(disk.snapshots.create('x', { created: 1 as never })).rejects.toMatchObject(
      refused('created'),
    )
    await expect(disk.snapshots.apply({} as never)).rejects.toMatchObject(refused('snapshot'))
    await expect(disk.snapshots.delete(7 as never)).rejects.toMatchObject(refused('snapshot'))
    const name = path.join(directory, 'b.qcow2')
    await create(name, { format: 'qcow2', size: MIB })
    await expect(open(name, { snapshot: 'nope' })).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(open(name, { snapshot: 'x', readOnly: false })).rejects.toMatchObject(refused('readOnly'))
    await using sound = await open(name, { readOnly: true })
    await expect(sound.snapshots.create('x')).rejects.toMatchObject({ code: 'EPERM' })
    await sound.close()
    await expect(sound.snapshots.list()).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })
})
