import { BlockError } from '@vmblock/block-core'
import { opsOf } from '@vmblock/block-core/driver'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { ManualClock } from '../testing/manual-clock.ts'
import { firstDifference, runMicrotasks, SlowDisk } from '../testing/slow-disk.ts'
import { BufferedDisk } from './buffered-disk.ts'
import type { DiskEvents } from './disk-events.ts'
import type { DiskOptions } from './disk-options.ts'

const SIZE = 64 * 1024

const eio = new BlockError('EIO', 'the medium failed')
const full = new BlockError('ENOSPC', 'no room')

function stage(options: DiskOptions = {}, slow = new SlowDisk(SIZE)) {
  const clock = new ManualClock()
  const disk = new BufferedDisk(slow.node, { clock, blockSize: 512, ...options })
  const events: string[] = []
  for (const event of ['stop', 'resume', 'dirty', 'flushed', 'full', 'room', 'close'] as const)
    disk.on(event as 'close', (...values: unknown[]) =>
      events.push([event, ...values.filter((value) => typeof value === 'boolean')].join(' ')),
    )
  disk.on('error', (...[{ operation, willRetry }]: DiskEvents['error']) =>
    events.push(`${operation} failed${willRetry ? ', again' : ''}`),
  )
  return { slow, clock, disk, events }
}

const bytes = (value: number, length = 512): Uint8Array => new Uint8Array(length).fill(value)

async function read(disk: BufferedDisk, offset: number, length = 512): Promise<Uint8Array> {
  const into = new Uint8Array(length)
  await disk.readAt(offset, into)
  return into
}

/** Whether a promise has ended, and how. */
function watch(promise: Promise<unknown>) {
  const state = { is: 'waits' }
  promise.then(
    () => (state.is = 'done'),
    (error: unknown) => (state.is = (error as BlockError).code),
  )
  return state
}

describe('what is durable', () => {
  it('write-back: a write is done at once, and durable with the barrier that follows it', async () => {
    const { slow, clock, disk, events } = stage({ flushInterval: 1000 })
    slow.isFast = true
    expect(disk.tryWrite(0, bytes(1))).toBe(true)
    await runMicrotasks()
    expect(slow.content[0]).toBe(1)
    expect([slow.durable[0], disk.isDirty]).toEqual([0, true])
    clock.advance(999)
    await runMicrotasks()
    expect(slow.durable[0]).toBe(0)
    clock.advance(1)
    await runMicrotasks()
    expect([slow.durable[0], disk.isDirty]).toEqual([1, false])
    expect(events).toEqual(['dirty true', 'dirty false', 'flushed'])
    expect(clock.isEmpty).toBe(true)
  })

  it('write-through: a write is done when it is durable, and there is no barrier', async () => {
    const { slow, clock, disk } = stage({ durability: 'write-through' })
    expect(disk.tryWrite(0, bytes(1))).toBe(false)
    const write = watch(disk.writeAt(0, bytes(1)))
    await runMicrotasks()
    slow.pending[0]!.end()
    await runMicrotasks()
    expect([write.is, slow.content[0], slow.durable[0]]).toEqual(['waits', 1, 0])
    slow.pending[0]!.end()
    await runMicrotasks()
    expect([write.is, slow.durable[0]]).toEqual(['done', 1])
    expect([disk.isDirty, clock.isEmpty]).toEqual([false, true])
  })

  it('a flush covers what was written before it, and not what came later', async () => {
    const { slow, disk } = stage({ flushInterval: 0 })
    void disk.writeAt(0, bytes(1))
    const flush = watch(disk.flush())
    await runMicrotasks()
    slow.pending[0]!.end()
    await runMicrotasks()
    expect(slow.pending[0]?.kind).toBe('flush')
    void disk.writeAt(1024, bytes(2))
    slow.pending[0]!.end()
    await runMicrotasks()
    expect([flush.is, disk.isDirty, slow.durable[0], slow.durable[1024]]).toEqual(['done', true, 1, 0])
  })

  it('changing the mode changes what follows', async () => {
    const { slow, disk } = stage({ flushInterval: 0 })
    slow.isFast = true
    await disk.writeAt(0, bytes(1))
    disk.durability = 'write-through'
    await disk.writeAt(512, bytes(2))
    expect([slow.durable[0], slow.durable[512], disk.isDirty]).toEqual([1, 2, false])
  })
})

describe('order', () => {
  it('takes a copy of what is written, and reads it back before it has arrived', async () => {
    const { slow, disk } = stage()
    const buffer = bytes(5)
    void disk.writeAt(512, buffer)
    buffer.fill(0xee)
    const reading = read(disk, 512)
    await runMicrotasks()
    expect(slow.pending.map(({ kind }) => kind)).toEqual(['write'])
    slow.pending[0]!.end()
    await runMicrotasks()
    slow.pending[0]!.end()
    expect(await reading).toEqual(bytes(5))
  })

  it('reads what is in memory at once, also while it is being written', async () => {
    const { slow, disk } = stage()
    slow.isFast = true
    await read(disk, 0)
    slow.isFast = false
    void disk.writeAt(0, bytes(5))
    const into = new Uint8Array(512)
    expect(disk.tryRead(0, into)).toBe(true)
    expect(into).toEqual(bytes(5))
  })

  it('discards in order with writes', async () => {
    const { slow, disk } = stage({ cacheSize: 0 })
    void disk.writeAt(0, bytes(1))
    void disk.discardAt(0, 1024)
    void disk.writeAt(512, bytes(2))
    slow.hurry()
    expect(await read(disk, 0, 1024)).toEqual(new Uint8Array([...bytes(0), ...bytes(2)]))
    expect(slow.log.map(({ kind }) => kind)).toEqual(['write', 'discard', 'write', 'read'])
  })
})

describe('memory', () => {
  it('lets writers wait once the buffer is full', async () => {
    const { slow, disk, events } = stage({ writeBuffer: 1024, cacheSize: 0 })
    expect(disk.tryWrite(0, bytes(1))).toBe(true)
    expect(disk.tryWrite(2048, bytes(2))).toBe(true)
    expect(disk.tryWrite(4096, bytes(3))).toBe(false)
    const waiting = watch(disk.writeAt(4096, bytes(3)))
    await runMicrotasks()
    expect([waiting.is, disk.statistics.bytesPending]).toEqual(['waits', 1536])
    slow.pending[0]!.end()
    await runMicrotasks()
    expect([waiting.is, disk.statistics.bytesPending]).toEqual(['done', 1024])
    expect(events).toEqual(['dirty true', 'full', 'room'])
  })

  it('refuses options that make no sense', () => {
    const refused: [DiskOptions, string][] = [
      [{ blockSize: 1000 }, 'blockSize'],
      [{ cacheSize: -1 }, 'cacheSize'],
      [{ writeBuffer: Number.NaN }, 'writeBuffer'],
      [{ durability: 'none' as never }, 'durability'],
      [{ werror: 'ignore' as never }, 'werror'],
    ]
    for (const [options, word] of refused)
      expect(() => new BufferedDisk(new SlowDisk(SIZE).node, options)).toThrow(word)
  })
})

describe('failures', () => {
  it('without room everything is held until it is resumed, and nothing is lost', async () => {
    const { slow, clock, disk, events } = stage({ writeBuffer: 512 })
    slow.isFast = true
    slow.failure = (kind) => (kind === 'write' ? full : undefined)
    await disk.writeAt(0, bytes(1))
    const waiting = watch(disk.writeAt(1024, bytes(2)))
    const guest = watch(disk.guestFlush())
    await runMicrotasks()
    expect([waiting.is, guest.is, disk.isStopped]).toEqual(['waits', 'waits', true])
    expect(await read(disk, 8192)).toEqual(bytes(0))
    clock.advance(100_000)
    await runMicrotasks()
    expect(events).toEqual(['dirty true', 'full', 'write failed, again', 'stop'])
    slow.failure = undefined
    disk.resume()
    await runMicrotasks()
    expect([waiting.is, guest.is, disk.isStopped]).toEqual(['done', 'done', false])
    expect([slow.durable[0], slow.durable[1024]]).toEqual([1, 2])
    expect(events.slice(4)).toEqual(['resume', 'room', 'dirty false', 'flushed'])
  })

  it('a flush that finds no room holds too, and goes on with the guest', async () => {
    const { slow, disk, events } = stage()
    slow.isFast = true
    slow.failure = (kind) => (kind === 'flush' ? full : undefined)
    await disk.writeAt(0, bytes(1))
    const guest = watch(disk.guestFlush())
    await runMicrotasks()
    expect([guest.is, disk.isStopped]).toEqual(['waits', true])
    await expect(disk.flush()).rejects.toThrow('no room')
    slow.failure = undefined
    disk.resume()
    await runMicrotasks()
    expect([guest.is, slow.durable[0]]).toEqual(['done', 1])
    expect(events.filter((event) => event === 'stop')).toHaveLength(2)
  })

  it('another failure of an acknowledged write is told by the next flush, and tried again', async () => {
    const { slow, clock, disk, events } = stage({ writeBuffer: 512 })
    slow.isFast = true
    slow.failure = (kind) => (kind === 'write' ? eio : undefined)
    await disk.writeAt(0, bytes(1))
    // This write was accepted before the failure was known; later ones would only pile up.
    await disk.writeAt(1024, bytes(2))
    await runMicrotasks()
    await expect(disk.writeAt(2048, bytes(3))).rejects.toThrow('medium')
    expect(disk.tryWrite(2048, bytes(3))).toBe(false)
    await expect(disk.guestFlush()).rejects.toThrow('medium')
    await expect(disk.flush()).rejects.toThrow('medium')
    expect(disk.isStopped).toBe(false)
    clock.advance(1000)
    await runMicrotasks()
    expect(slow.content[0]).toBe(0)
    slow.failure = undefined
    clock.advance(1000)
    await runMicrotasks()
    expect(slow.content[0]).toBe(0)
    clock.advance(1000)
    await runMicrotasks()
    expect([slow.durable[0], slow.durable[1024], slow.durable[2048]]).toEqual([1, 2, 0])
    expect(events.filter((event) => event.startsWith('write'))).toHaveLength(4)
  })

  it('after such a failure discards do not pile up either', async () => {
    const { slow, disk } = stage({ writeBuffer: 4096 })
    slow.isFast = true
    slow.failure = (kind) => (kind === 'write' ? eio : undefined)
    await disk.writeAt(0, bytes(1))
    await runMicrotasks()
    let refused = 0
    // Not adjacent, so each is a separate request.
    for (let i = 0; i < 60; i++)
      await disk.discardAt((2 * i + 2) * 512, 512).catch((error: unknown) => {
        expect(error).toBe(eio)
        refused++
      })
    expect(refused).toBe(53)
    expect(disk.statistics.bytesPending).toBeLessThanOrEqual(4096 + 1024)
    await disk.crash()
  })

  it('a write that a caller waits for is told to have failed, and what was there shows again', async () => {
    const { slow, disk } = stage({ durability: 'write-through' })
    slow.isFast = true
    await disk.writeAt(0, bytes(1))
    expect(await read(disk, 0)).toEqual(bytes(1))
    slow.failure = (kind) => (kind === 'write' ? eio : undefined)
    await expect(disk.writeAt(0, bytes(2))).rejects.toThrow('medium')
    slow.failure = undefined
    expect(await read(disk, 0)).toEqual(bytes(1))
    await disk.writeAt(512, bytes(3))
    expect(disk.isDirty).toBe(false)
  })

  it('a read that fails is told, or held if that is the policy', async () => {
    const told = stage()
    told.slow.failure = (kind) => (kind === 'read' ? eio : undefined)
    await expect(read(told.disk, 0)).rejects.toThrow('medium')
    expect(told.events).toEqual(['read failed'])
    const held = stage({ rerror: 'stop' })
    held.slow.isFast = true
    held.slow.failure = told.slow.failure
    const reading = read(held.disk, 0)
    await runMicrotasks()
    expect(held.events).toEqual(['read failed, again', 'stop'])
    held.slow.failure = undefined
    held.disk.resume()
    expect(await reading).toEqual(bytes(0))
  })

  it('sees that a browser has no room, whatever the error is wrapped in', async () => {
    const { slow, disk } = stage()
    slow.isFast = true
    const quota = Object.assign(new Error('quota'), { name: 'QuotaExceededError' })
    slow.failure = () => new BlockError('EIO', 'could not write', { cause: quota })
    await disk.writeAt(0, bytes(1))
    await runMicrotasks()
    expect(disk.isStopped).toBe(true)
  })

  it('refuses to write to what is read-only, and what is not on the disk', async () => {
    const { disk, events } = stage({}, new SlowDisk(SIZE, { readOnly: true }))
    await expect(disk.writeAt(0, bytes(1))).rejects.toMatchObject({ code: 'EPERM' })
    await expect(disk.discardAt(0, 512)).rejects.toMatchObject({ code: 'EPERM' })
    expect(disk.tryWrite(0, bytes(1))).toBe(false)
    expect(events).toEqual(['write failed', 'discard failed'])
    for (const offset of [SIZE, SIZE - 511, -512, 0.5, Number.NaN])
      await expect(read(disk, offset)).rejects.toMatchObject({ code: 'EIO' })
  })
})

describe('the ends', () => {
  it('close makes everything durable, and takes nothing more', async () => {
    const { slow, clock, disk, events } = stage({ ownsNode: true })
    slow.isFast = true
    await disk.writeAt(0, bytes(1))
    await Promise.all([disk.close(), disk.close()])
    expect([slow.durable[0], slow.node.isOpen, clock.isEmpty]).toEqual([1, false, true])
    await expect(read(disk, 0)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await expect(disk.writeAt(0, bytes(1))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    expect(disk.tryRead(0, bytes(0))).toBe(false)
    expect(events.at(-1)).toBe('close')
  })

  it('close leaves a node open that is not its own', async () => {
    const { slow, disk } = stage()
    slow.isFast = true
    await disk.close()
    expect(slow.node.isOpen).toBe(true)
  })

  it('a disk that cannot be written stays open, and closes once it can', async () => {
    const { slow, disk } = stage()
    slow.isFast = true
    slow.failure = (kind) => (kind === 'write' ? full : undefined)
    await disk.writeAt(0, bytes(1))
    await expect(disk.close()).rejects.toThrow('no room')
    expect(disk.isOpen).toBe(true)
    slow.failure = undefined
    await disk.close()
    expect(slow.durable[0]).toBe(1)
  })

  it('close does not wait for a read that is held, and fails again', async () => {
    const { slow, disk } = stage({ rerror: 'stop' })
    slow.isFast = true
    slow.failure = (kind) => (kind === 'read' ? eio : undefined)
    const reading = watch(read(disk, 0))
    await runMicrotasks()
    await disk.close()
    expect([reading.is, disk.isOpen]).toEqual(['EIO', false])
  })

  it('close limits how long a node of its own waits, and a disk that stays open is as patient as before', async () => {
    const { slow, disk } = stage({ ownsNode: true })
    slow.isFast = true
    slow.failure = (kind) => (kind === 'write' ? full : undefined)
    const said: string[] = []
    opsOf(slow.node).setPatience = (patience) => void said.push(patience)
    await disk.writeAt(0, bytes(1))
    await expect(disk.close()).rejects.toThrow('no room')
    expect(said.splice(0)).toEqual(['limited', 'usual'])
    slow.failure = undefined
    await disk.close()
    // At that point only read-ahead is in flight.
    expect(said).toEqual(['limited', 'none', 'limited'])
  })

  it('crash drops what is on its way, and all callers are told', async () => {
    const { slow, disk } = stage({ writeBuffer: 512, ownsNode: true })
    void disk.writeAt(0, bytes(1))
    const waiting = [watch(disk.writeAt(1024, bytes(2))), watch(disk.guestFlush()), watch(read(disk, 0))]
    await runMicrotasks()
    await disk.crash()
    await runMicrotasks()
    expect(waiting.map(({ is }) => is)).toEqual(['ECANCELED', 'ECANCELED', 'ECANCELED'])
    slow.hurry()
    await runMicrotasks()
    expect(slow.log.filter(({ kind }) => kind === 'write')).toHaveLength(1)
  })

  it('drain waits for every read and write, but makes nothing durable', async () => {
    const { slow, disk } = stage({ flushInterval: 0 })
    void disk.writeAt(0, bytes(1))
    const reading = read(disk, 8192)
    const drained = watch(disk.drain())
    await runMicrotasks()
    slow.pending.find(({ kind }) => kind === 'write')!.end()
    await runMicrotasks()
    expect(drained.is).toBe('waits')
    slow.pending[0]!.end()
    await reading
    await runMicrotasks()
    expect([drained.is, slow.content[0], slow.durable[0]]).toEqual(['done', 1, 0])
  })
})

describe('against an array of bytes', () => {
  /** A write made while a read is in flight: the read may see it or not. */
  interface Late {
    readonly offset: number
    readonly data: Uint8Array
  }

  async function run(seed: number): Promise<void> {
    const random = createRandom(seed)
    const { slow, disk } = stage({
      durability: random.pick(['write-back', 'write-through']),
      cacheSize: random.pick([0, 4096, 2 * SIZE]),
      blockSize: random.pick([512, 4096]),
      readAhead: random.pick([0, 8192]),
      writeBuffer: random.pick([0, 2048, 65536]),
      flushInterval: 0,
    })
    const model = new Uint8Array(SIZE)
    /** The step at which each byte was last written, since two writes may write the same value. */
    const writtenAt = new Int32Array(SIZE).fill(-1)
    const reads = new Set<Late[]>()
    const running = new Set<Promise<unknown>>()
    const failures: unknown[] = []
    const track = (promise: Promise<unknown>): void => {
      running.add(promise)
      const end = (): void => void running.delete(promise)
      promise.then(end, (error: unknown) => {
        failures.push(error)
        end()
      })
    }
    const compare = (offset: number, got: Uint8Array, then: Uint8Array, late: readonly Late[]): void => {
      for (let index = 0; index < got.length; index++) {
        const at = offset + index
        const isNew = late.some((write) => write.data[at - write.offset] === got[index])
        if (got[index] !== then[index] && !isNew)
          throw new Error(`byte ${at} is ${got[index]}, not ${then[index]}`)
      }
    }
    for (let step = 0; step < 300; step++) {
      const offset = 512 * random.int(0, 100)
      const length = 512 * random.int(1, 20)
      switch (random.int(0, 8)) {
        case 0:
        case 1:
        case 2: {
          const data = random.bytes(length)
          model.set(data, offset)
          writtenAt.fill(step, offset, offset + length)
          for (const late of reads) late.push({ offset, data: data.slice() })
          if (!disk.tryWrite(offset, data)) track(disk.writeAt(offset, data))
          data.fill(0)
          break
        }
        case 3:
        case 4: {
          const into = new Uint8Array(length)
          const then = model.slice(offset, offset + length)
          if (disk.tryRead(offset, into)) compare(offset, into, then, [])
          else {
            const late: Late[] = []
            reads.add(late)
            const reading = disk.readAt(offset, into).then(() => {
              reads.delete(late)
              compare(offset, into, then, late)
            })
            track(reading)
          }
          break
        }
        case 5: {
          const then = model.slice()
          const isQuiet = running.size === 0 && slow.pending.length === 0
          track(
            disk.flush().then(() => {
              const isLost = (byte: number, at: number): boolean =>
                slow.durable[at] !== byte && writtenAt[at]! < step
              if (isQuiet && then.some(isLost)) throw new Error('something that was flushed is not durable')
            }),
          )
          break
        }
        default:
          for (let count = random.int(0, 4); count > 0; count--) {
            slow.step(random)
            await runMicrotasks()
          }
      }
    }
    // Requests may wait for a turn of the event loop before the disk below is asked.
    const closing = watch(disk.close())
    while (closing.is === 'waits') {
      await new Promise((resolve) => setImmediate(resolve))
      slow.step(random)
    }
    expect(closing.is).toBe('done')
    expect(failures).toEqual([])
    expect(firstDifference(slow.durable, model)).toBe(-1)
  }

  const rounds = process.env['VMBLOCK_LONG'] === '1' ? 2000 : 15

  it.each(Array.from({ length: rounds }, (_, index) => 1000 + index))('seed %i', async (seed) => {
    await run(seed)
  })
})
