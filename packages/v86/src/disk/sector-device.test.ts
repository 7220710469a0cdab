/**
 * Other emulators: one that tries synchronous calls first, as WebAssembly ports do, and one with callbacks.
 */
import { DriverRegistry, denyHost, formatImage, memory, openNode } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { describe, expect, it } from 'vitest'
import { runMicrotasks, SlowDisk } from '../testing/slow-disk.ts'
import { EmulatorDisk } from './emulator-disk.ts'
import { type SectorDevice, withCallbacks } from './sector-device.ts'

/** An instruction of the toy machine. Memory and disk are addressed in sectors. */
type Instruction =
  | readonly ['load', sector: number, into: number]
  | readonly ['store', sector: number, from: number]
  | readonly ['fill', at: number, value: number]
  | readonly ['flush']

/** A machine whose processor waits for its disk only if it must. */
class ToyMachine {
  readonly memory = new Uint8Array(16 * 512)
  readonly #disk: SectorDevice
  /** How often the processor had to wait. */
  waits = 0

  constructor(disk: SectorDevice) {
    this.#disk = disk
  }

  async run(program: readonly Instruction[]): Promise<void> {
    for (const instruction of program) {
      const waiting = this.#execute(instruction)
      if (!waiting) continue
      this.waits++
      await waiting
    }
  }

  #execute(instruction: Instruction): Promise<void> | undefined {
    switch (instruction[0]) {
      case 'load':
        return this.#transfer('read', instruction[1], instruction[2])
      case 'store':
        return this.#transfer('write', instruction[1], instruction[2])
      case 'fill':
        this.memory.fill(instruction[2], instruction[1] * 512, (instruction[1] + 1) * 512)
        return undefined
      case 'flush':
        return this.#disk.flush()
    }
  }

  #transfer(way: 'read' | 'write', sector: number, at: number): Promise<void> | undefined {
    const buffer = this.memory.subarray(at * 512, (at + 1) * 512)
    if (way === 'read')
      return this.#disk.readSync(sector, buffer) ? undefined : this.#disk.read(sector, buffer)
    return this.#disk.writeSync(sector, buffer) ? undefined : this.#disk.write(sector, buffer)
  }
}

describe('a machine that asks synchronously', () => {
  it('runs on a qcow2 image, stops once for what is not in memory, and finds its data again', async () => {
    const environment = { registry: new DriverRegistry([memory, qcow2]), host: denyHost }
    const file = await openNode(environment, { driver: 'memory' })
    await formatImage(qcow2, file, { size: '64M', lazyRefcounts: true })
    const disk = new EmulatorDisk(await openNode(environment, { driver: 'qcow2', file }), { ownsNode: true })
    const machine = new ToyMachine(disk)
    await machine.run([
      ['fill', 0, 7],
      ['store', 1000, 0],
      ['store', 100_000, 0],
      ['load', 1000, 1],
      ['load', 1001, 2],
      ['load', 1000, 3],
    ])
    expect(machine.waits).toBe(1)
    expect(machine.memory.subarray(512, 1024)).toEqual(new Uint8Array(512).fill(7))
    expect(machine.memory.subarray(3 * 512, 4 * 512)).toEqual(new Uint8Array(512).fill(7))
    await machine.run([['flush']])
    await disk.crash()
    const again = new EmulatorDisk(await openNode(environment, { driver: 'qcow2', file }), { ownsNode: true })
    const second = new ToyMachine(again)
    await second.run([['load', 100_000, 0]])
    expect(second.memory[511]).toBe(7)
    await again.close()
  })
})

describe('a machine with callbacks', () => {
  it('is told at once where nothing has to be waited for, and later where it has', async () => {
    const slow = new SlowDisk(8192)
    const disk = new EmulatorDisk(slow.node, { flushInterval: 0, writeBuffer: 512, blockSize: 512 })
    const device = withCallbacks(disk)
    const told: string[] = []
    const done = (what: string) => (error?: unknown) => told.push(error ? `${what}: ${String(error)}` : what)
    const buffer = new Uint8Array(512).fill(1)
    device.write(0, buffer, done('write'))
    expect(told).toEqual(['write'])
    buffer.fill(2)
    device.write(2, buffer, done('second write'))
    device.flush(done('flush'))
    const into = new Uint8Array(512)
    device.read(0, into, done('read'))
    device.discard(4, 2, done('discard'))
    await runMicrotasks()
    expect(told).toEqual(['write'])
    slow.hurry()
    await runMicrotasks()
    expect(told.slice(1).sort()).toEqual(['discard', 'flush', 'read', 'second write'])
    expect(into[0]).toBe(1)
    device.read(0, into, done('again'))
    expect(told.at(-1)).toBe('again')
    device.read(15, new Uint8Array(512), done('last'))
    device.read(8, new Uint8Array(512), done('given up'), AbortSignal.abort())
    await runMicrotasks()
    expect(told.slice(-2).sort()).toEqual(['given up: BlockError: the request was given up', 'last'])
  })
})

describe('sectors', () => {
  it('are whole, and on the disk', async () => {
    const disk = new EmulatorDisk(new SlowDisk(8192).node)
    expect([disk.sectors, disk.sectorSize, disk.readOnly]).toEqual([16, 512, false])
    await expect(disk.read(0, new Uint8Array(100))).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(disk.write(0.5, new Uint8Array(512))).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(disk.read(15, new Uint8Array(1024))).rejects.toMatchObject({ code: 'EIO' })
    await expect(disk.discard(16, 1)).rejects.toMatchObject({ code: 'EIO' })
    expect(() => disk.readSync(-1, new Uint8Array(512))).toThrow('not on the disk')
    expect(() => new EmulatorDisk(new SlowDisk(1000).node)).toThrow('1000')
  })

  it('a read that is given up leaves the buffer alone, whatever arrives', async () => {
    const slow = new SlowDisk(8192)
    slow.content.set(createRandom(1).bytes(8192))
    const disk = new EmulatorDisk(slow.node)
    const abort = new AbortController()
    const into = new Uint8Array(512)
    const reading = disk.read(0, into, abort.signal)
    abort.abort()
    await expect(reading).rejects.toMatchObject({ code: 'ECANCELED' })
    slow.hurry()
    await runMicrotasks()
    expect(into).toEqual(new Uint8Array(512))
    await disk.read(0, into, new AbortController().signal)
    expect(into).toEqual(slow.content.slice(0, 512))
  })
})
