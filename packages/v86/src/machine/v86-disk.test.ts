import {
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
} from '@vmblock/block-core'
import { createRandom, nodeOf } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import type { DiskEvents } from '../disk/disk-events.ts'
import { FakeDrive } from '../testing/fake-drive.ts'
import { firstDifference, runMicrotasks, SlowDisk } from '../testing/slow-disk.ts'
import { V86Disk, type V86DiskOptions, type V86DriveLink } from './v86-disk.ts'
import { v86Disk } from './v86-disk-of.ts'

const SIZE = 64 * 1024
const bytes = (value: number, length = 512): Uint8Array => new Uint8Array(length).fill(value)

function stage(options: V86DiskOptions = {}) {
  const slow = new SlowDisk(SIZE)
  const disk = new V86Disk(slow.node, { flushInterval: 0, blockSize: 512, identity: 'it', ...options })
  const warnings: string[] = []
  disk.on('warn', (...[line]: DiskEvents['warn']) => warnings.push(line))
  return { slow, disk, drive: new FakeDrive(disk), warnings }
}

/** A node of any size, with nothing in it. */
const nodeOfSize = (size: number): BlockNode =>
  nodeOf({ size: () => size, read: () => Promise.resolve(), write: () => Promise.resolve() })

/** Whether a promise has ended. */
function watch(promise: Promise<unknown>) {
  const state = { isDone: false }
  void promise.then(() => (state.isDone = true))
  return state
}

describe('loading', () => {
  it('says that it is there, with its first sector in memory', async () => {
    const { slow, disk } = stage()
    slow.isFast = true
    slow.content.fill(7, 510, 512)
    const told: unknown[] = []
    disk.onprogress = (event) => told.push(event)
    disk.onload = (event) => told.push(event)
    await disk.load()
    expect(told).toEqual([{ loaded: SIZE, total: SIZE, lengthComputable: true }, {}])
    expect(disk.byteLength).toBe(SIZE)
    expect(disk.get_from_cache(0, 512)?.[511]).toBe(7)
    expect(disk.get_from_cache(512, 512)).toBeUndefined()
    let asked: Uint8Array | undefined
    disk.get_and_cache(0, 512, (data) => (asked = data))
    expect(asked?.[511]).toBe(7)
  })

  it('is there also if it cannot be read', async () => {
    const { slow, disk } = stage()
    slow.failure = () => new BlockError('EIO', 'no')
    let isLoaded = false
    disk.onload = () => (isLoaded = true)
    await disk.load()
    expect(isLoaded).toBe(true)
    expect(disk.get_from_cache(0, 512)).toBeUndefined()
  })

  it.each([
    [0, 'EINVAL'],
    [513, 'EINVAL'],
    [2 ** 41, 'EFBIG'],
    [2 ** 42, 'EFBIG'],
  ])('refuses a size of %i bytes', async (size, code) => {
    expect(() => new V86Disk(nodeOfSize(size))).toThrow(expect.objectContaining({ code }))
    await expect(v86Disk(nodeOfSize(size))).rejects.toMatchObject({ code })
  })

  it('takes the largest disk that v86 can count', () => {
    expect(new V86Disk(nodeOfSize(2 ** 41 - 512)).byteLength).toBe(2 ** 41 - 512)
  })
})

describe('v86Disk', () => {
  const environment = { registry: new DriverRegistry([memory]), host: denyHost }

  it('leaves a given node open, and closes one that it opened', async () => {
    const given = openMemory(bytes(1))
    const first = await v86Disk(given)
    await first.close()
    expect(given.isOpen).toBe(true)
    const second = await v86Disk({ driver: 'memory', size: 512 }, { environment })
    await second.close()
    expect(second.node.isOpen).toBe(false)
  })

  it('needs an environment for options, and closes what it cannot use', async () => {
    await expect(v86Disk({ driver: 'memory', size: 512 })).rejects.toThrow('environment')
    await expect(v86Disk({ driver: 'memory', size: 513, nodeName: 'odd' }, { environment })).rejects.toThrow(
      'sectors',
    )
    // The node's name is free again.
    await (await openNode(environment, { driver: 'memory', nodeName: 'odd' })).close()
  })
})

describe('requests', () => {
  it('PIO: what the guest wrote is there, whatever becomes of its buffer', async () => {
    const { slow, drive } = stage({ writeBuffer: 0 })
    drive.writeByPio(0, bytes(1))
    drive.writeByPio(512, bytes(2))
    drive.writeByPio(0, bytes(3))
    const reading = drive.read(0, 1024)
    await runMicrotasks()
    slow.hurry()
    expect(await reading).toEqual(new Uint8Array([...bytes(3), ...bytes(2)]))
  })

  it('answers at once what is in memory, and gives data that is the caller’s', async () => {
    const { slow, disk, drive } = stage()
    slow.isFast = true
    await drive.read(0, 512)
    let data: Uint8Array | undefined
    disk.get(0, 512, (got) => (data = got))
    expect(data).toEqual(bytes(0))
    data!.fill(9)
    disk.get(0, 512, (got) => (data = got))
    expect(data).toEqual(bytes(0))
  })

  it('answers a write at once while there is room, and later when not', async () => {
    const { slow, drive } = stage({ writeBuffer: 512, cacheSize: 0 })
    let isDone = false
    void drive.writeByDma(0, bytes(1)).then(() => (isDone = true))
    await runMicrotasks()
    expect(isDone).toBe(true)
    const second = watch(drive.writeByDma(1024, bytes(2)))
    await runMicrotasks()
    expect(second.isDone).toBe(false)
    slow.hurry()
    await runMicrotasks()
    expect(second.isDone).toBe(true)
  })

  it('write-through: the answer comes when it is durable', async () => {
    const { slow, drive } = stage({ durability: 'write-through' })
    const write = watch(drive.writeByDma(0, bytes(1)))
    await runMicrotasks()
    slow.pending[0]!.end()
    await runMicrotasks()
    expect([write.isDone, slow.pending[0]!.kind]).toEqual([false, 'flush'])
    slow.pending[0]!.end()
    await runMicrotasks()
    expect([write.isDone, slow.durable[0]]).toEqual([true, 1])
  })

  it('a write that was given up lands before the one that was tried again, and ends nothing', async () => {
    const { slow, drive } = stage({ durability: 'write-through' })
    const first = watch(drive.writeByDma(0, bytes(1)))
    await runMicrotasks()
    drive.reset()
    const second = watch(drive.writeByDma(0, bytes(2)))
    slow.hurry()
    await runMicrotasks()
    expect([first.isDone, second.isDone, drive.spurious]).toEqual([false, true, 0])
    expect(slow.durable[0]).toBe(2)
  })

  it('a read that was given up is never answered', async () => {
    const { slow, disk } = stage()
    const abort = new AbortController()
    let answers = 0
    disk.get(0, 512, () => answers++, { signal: abort.signal })
    abort.abort()
    slow.hurry()
    await runMicrotasks()
    expect(answers).toBe(0)
  })

  it('takes bytes in any number, as floppies are read', async () => {
    const { slow, drive } = stage()
    slow.isFast = true
    await drive.writeByDma(100, bytes(5, 30))
    expect((await drive.read(90, 50))[10]).toBe(5)
    expect(slow.content.subarray(99, 131).filter((byte) => byte === 5)).toHaveLength(30)
  })

  it('never throws at v86, and tells the drive of failures if there is one to tell', async () => {
    const { slow, disk } = stage({ durability: 'write-through', werror: 'report' })
    const told: string[] = []
    const link: V86DriveLink = { readFailed: () => told.push('read'), writeFailed: () => told.push('write') }
    slow.failure = () => new BlockError('EIO', 'no')
    let answers = 0
    const ask = async (): Promise<void> => {
      disk.get(0, 512, () => answers++)
      await runMicrotasks()
      disk.set(0, bytes(1), () => answers++)
      await runMicrotasks()
      disk.get(SIZE, 512, () => answers++)
      await runMicrotasks()
      disk.set(-512, bytes(1), () => answers++)
      await runMicrotasks()
    }
    await ask()
    expect([answers, told]).toEqual([0, []])
    disk.link(link)
    await ask()
    expect([answers, told]).toEqual([0, ['read', 'write', 'read', 'write']])
    await disk.crash()
    await ask()
    expect([answers, told.length]).toEqual([0, 4])
  })

  it('against an array of bytes: DMA, PIO, resets', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const random = createRandom(seed)
      const { slow, disk, drive } = stage({
        durability: random.pick(['write-back', 'write-through']),
        writeBuffer: random.pick([0, 4096]),
        cacheSize: random.pick([0, 4096, SIZE]),
      })
      const model = new Uint8Array(SIZE)
      const until = async (promise: Promise<unknown>): Promise<boolean> => {
        const state = watch(promise)
        for (let patience = random.int(0, 12); patience > 0 && !state.isDone; patience--) {
          slow.step(random)
          await runMicrotasks()
        }
        if (!state.isDone) drive.reset()
        return state.isDone
      }
      for (let step = 0; step < 100; step++) {
        const offset = 512 * random.int(0, 100)
        const length = 512 * random.int(1, 20)
        const data = random.bytes(length)
        switch (random.int(0, 3)) {
          case 0:
            drive.writeByPio(offset, data)
            model.set(data, offset)
            break
          case 1:
            model.set(data, offset)
            await until(drive.writeByDma(offset, data))
            break
          default: {
            const reading = drive.read(offset, length)
            if (await until(reading))
              expect(firstDifference(await reading, model.subarray(offset, offset + length))).toBe(-1)
          }
        }
      }
      // A disk that is not attached learns of a reset only by the next request.
      void drive.read(0, 512)
      slow.hurry()
      await disk.close()
      expect([drive.spurious, firstDifference(slow.durable, model)]).toEqual([0, -1])
    }
  })
})

describe('states', () => {
  /** Saves the state as v86 does: as JSON, with typed arrays stored separately. */
  const saved = (disk: V86Disk): unknown[] => JSON.parse(JSON.stringify(disk.get_state())) as unknown[]

  it('name the disk, hold nothing of it, and are restored on the same disk', async () => {
    const { slow, disk, drive } = stage()
    slow.isFast = true
    await drive.writeByDma(0, bytes(1))
    await disk.flush()
    const state = saved(disk)
    expect(JSON.stringify(state).length).toBeLessThan(200)
    disk.set_state(state)
    const again = stage()
    again.disk.set_state(state)
    expect([...again.warnings]).toEqual([])
  })

  it.each<[string, (state: unknown[]) => unknown, string]>([
    ['of another size', (state) => state.with(2, 512), 'bytes'],
    ['of another image', (state) => state.with(3, 'other'), 'other'],
    ['of another kind of disk', () => [512, new Uint8Array(512)], 'another kind'],
    ['of another version', (state) => state.with(1, 99), 'another version'],
    ['with a field too few', (state) => state.slice(0, -1), 'another version'],
    ['that are none', () => undefined, 'another kind'],
  ])('are refused %s', (_, change, word) => {
    const { disk } = stage()
    expect(() => disk.set_state(change(saved(disk)) as unknown[])).toThrow(word)
  })

  it('are refused once the disk was written to, unless that is allowed', async () => {
    for (const allowOlderState of [false, true]) {
      const { slow, disk, drive } = stage({ allowOlderState })
      slow.isFast = true
      const state = saved(disk)
      await drive.writeByDma(0, bytes(1))
      if (allowOlderState) disk.set_state(state)
      else expect(() => disk.set_state(state)).toThrow('changed 1 times')
    }
  })

  it('cannot be saved while the guest waits', async () => {
    const { slow, disk, drive } = stage({ durability: 'write-through' })
    const reading = drive.read(0, 512)
    expect(() => disk.get_state()).toThrow(expect.objectContaining({ code: 'EBUSY' }))
    slow.pending[0]!.end()
    await reading
    disk.get_state()
    void drive.writeByDma(0, bytes(1))
    expect(() => disk.get_state()).toThrow('drain')
    const drained = disk.drain()
    slow.hurry()
    await drained
    disk.get_state()
  })

  it('say that something may be missing, if they were saved too early', async () => {
    const { disk, drive } = stage()
    drive.writeByPio(0, bytes(1))
    const again = stage()
    again.disk.set_state(saved(disk))
    expect(again.warnings.join()).toContain('may be missing')
  })

  it('of a guest that flushes make writes durable until its flushes are heard again', () => {
    const { disk } = stage()
    disk.guestFlushes = true
    const again = stage()
    again.disk.set_state(saved(disk))
    expect([again.disk.durability, again.warnings.length]).toEqual(['write-through', 1])
    again.disk.link({ readFailed: () => undefined, writeFailed: () => undefined })
    expect(again.disk.durability).toBe('write-back')
    again.disk.link(undefined)
    expect(again.disk.durability).toBe('write-through')
  })

  it('restored: what was asked before is not answered any more', async () => {
    const { slow, disk, drive } = stage({ durability: 'write-through' })
    const state = saved(disk)
    const reading = watch(drive.read(0, 512))
    disk.set_state(state)
    slow.hurry()
    await runMicrotasks()
    expect(reading.isDone).toBe(false)
  })
})

describe('the whole disk', () => {
  it('is given as a buffer, and as a file once it is in memory', async () => {
    const { slow, disk, drive } = stage({ cacheSize: 2 * SIZE })
    slow.isFast = true
    await drive.writeByDma(1024, bytes(5))
    expect(() => disk.get_as_file('disk.img')).toThrow(expect.objectContaining({ code: 'ENOTSUP' }))
    for (let at = 0; at < SIZE; at += 4096) await drive.read(at, 4096)
    const file = disk.get_as_file('disk.img')
    expect([file.name, file.size, (await file.arrayBuffer()).byteLength]).toEqual(['disk.img', SIZE, SIZE])
    const buffer = await new Promise<ArrayBuffer | undefined>((resolve) => disk.get_buffer(resolve))
    expect(firstDifference(new Uint8Array(buffer!), slow.content)).toBe(-1)
  })

  it('is not given where it is too large, or cannot be read', async () => {
    const large = new V86Disk(nodeOfSize(2 ** 40))
    expect(await new Promise((resolve) => large.get_buffer(resolve))).toBeUndefined()
    expect(() => large.get_as_file('x')).toThrow('memory')
    const { slow, disk } = stage()
    slow.failure = () => new BlockError('EIO', 'no')
    expect(await new Promise((resolve) => disk.get_buffer(resolve))).toBeUndefined()
  })
})
