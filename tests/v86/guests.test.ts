/** A real Linux in v86, on disks of every kind: the host's own programs find what it wrote and synced. */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openMemory, openNode } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { saveState, V86Disk, type V86DiskOptions, v86Disk } from '@vmblock/v86'
import { v86Disk as nodeDisk } from '@vmblock/v86/node'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import {
  baseContent,
  contentOf,
  DISK,
  diskOf,
  emptyImage,
  guestEnvironment,
  IDENTITY,
  imageOptions,
  KINDS,
  type Kind,
  requireFileSystem,
  requireSound,
} from './src/guest-disks.ts'
import { haveGuest, Kept } from './src/guest-files.ts'
import { Machine, type MachineOptions, V86_RELEASES } from './src/machine.ts'
import { MoodyDisk } from './src/moody-disk.ts'
import { VolatileDisk } from './src/volatile-disk.ts'

/** Milliseconds: an emulated machine on a busy host. */
const PATIENCE = 600_000

const LONG = process.env['VMBLOCK_LONG'] === '1'

const sources = (folder: string): string[] =>
  readdirSync(new URL(folder, import.meta.url), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => fileURLToPath(new URL(folder + name, import.meta.url)))

/**
 * The state of a booted machine that has detected a disk without writing to it. Kept, because booting takes
 * most of the time.
 */
async function bootedState(): Promise<ArrayBuffer> {
  const kept = new Kept('booted', [...sources('../../packages/v86/src/'), ...sources('./src/')])
  const before = kept.get()
  if (before) return before
  const disk = await v86Disk(openMemory(new Uint8Array(DISK)), { identity: IDENTITY })
  const machine = await Machine.start(disk)
  const state = await saveState(machine.emulator, disk)
  await machine.destroy()
  if (!process.env['CI']) kept.put(state)
  return state
}

const machines: Machine[] = []
const benches: Bench[] = []
let state: ArrayBuffer

async function start(disk: V86Disk, options: MachineOptions = {}): Promise<Machine> {
  const machine = await Machine.start(disk, { state, ...options })
  machines.push(machine)
  return machine
}

function newBench(): Bench {
  const bench = openBench()
  benches.push(bench)
  return bench
}

const FILES = ['/program', '/deep/er/text', '/small'] as const

/** Makes a file system and files in it, and syncs. @returns the SHA-256 of each file */
async function populate(machine: Machine): Promise<Map<string, string>> {
  await machine.run('mke2fs -q /dev/sda > /dev/null && mount -t ext2 /dev/sda /mnt && cd /mnt')
  await machine.run('head -c 500000 /bin/busybox > program && mkdir -p deep/er && echo small > small')
  await machine.run('seq 1 2000 > gone && seq 1 5000 > deep/er/text && rm gone && sync')
  return hashes(machine)
}

async function hashes(machine: Machine): Promise<Map<string, string>> {
  const output = await machine.run(`cd /mnt && sha256sum ${FILES.map((file) => file.slice(1)).join(' ')}`)
  return new Map([...output.matchAll(/^(\w{64}) {2}(\S+)$/gm)].map(([, hash, name]) => [`/${name}`, hash!]))
}

describe.skipIf(!haveGuest || !haveQemu)('Linux in v86', () => {
  beforeAll(async () => {
    state = await bootedState()
  }, PATIENCE)
  afterEach(async () => {
    for (const machine of machines.splice(0)) await machine.destroy()
    for (const bench of benches.splice(0)) bench.remove()
  }, PATIENCE)

  test.each(KINDS)(
    'makes a file system and files on %s, which the host finds',
    async (kind) => {
      const bench = newBench()
      if (kind.includes('overlay')) bench.write('base.img', baseContent())
      bench.write('disk.img', await emptyImage(kind))
      const disk = await nodeDisk(
        { file: bench.path('disk.img'), format: kind === 'raw' ? 'raw' : 'qcow2' },
        { identity: IDENTITY },
      )
      const machine = await start(disk)
      const files = await populate(machine)
      expect([...files.keys()]).toEqual(FILES)
      await machine.run('cd / && umount /mnt')
      await machine.destroy()
      await disk.drain()
      const content = await contentOf(disk.node)
      await disk.close()
      requireSound(bench, kind, 'disk.img', content, false)
      const found = requireFileSystem(bench, content, FILES)
      if (found.size > 0) expect(found).toEqual(files)
    },
    PATIENCE,
  )

  /** Power is lost while the guest writes; what it had synced is intact after the image has been repaired. */
  async function survive(kind: Kind, seed: number, attach: boolean): Promise<void> {
    const random = createRandom(seed)
    const medium = new VolatileDisk(await emptyImage(kind))
    const open = async (repairs?: string[]): Promise<V86Disk> => {
      const node = await openNode(guestEnvironment(repairs), imageOptions(kind, medium.open()))
      return new V86Disk(node, { identity: IDENTITY, ownsNode: true, flushInterval: 0 })
    }
    const disk = await open()
    const machine = await start(disk, { attach })
    const files = await populate(machine)
    const enough = disk.statistics.bytesWritten + random.int(0, 2 ** 20)
    const inMidWrite = new Promise<void>((resolve) => {
      const look = (): void => {
        if (disk.statistics.bytesWritten > enough) resolve()
      }
      disk.on('progress', look)
    })
    await machine.run('(while :; do head -c 300000 /bin/busybox > /mnt/more; sync; rm /mnt/more; done) &')
    await inMidWrite
    await Promise.all([disk.crash(), machine.destroy()])
    await medium.losePower(random)

    const repairs: string[] = []
    const again = await open(repairs)
    if (kind.includes('lazy')) expect(repairs).toHaveLength(1)
    const bench = newBench()
    bench.write('disk.img', await medium.bytes())
    // A lazy image becomes dirty again only when it is written to.
    requireSound(bench, kind, 'disk.img', await contentOf(again.node), true)
    const second = await start(again, { attach })
    const { code } = await second.attempt('e2fsck -f -y /dev/sda > /dev/null')
    expect(code, 'e2fsck: nothing is left that it could not repair').toBeLessThan(2)
    await second.run('mount -t ext2 /dev/sda /mnt')
    expect(await hashes(second)).toEqual(files)
    await second.run('cd / && umount /mnt')
    await second.destroy()
    await again.close()
    const bytes = await medium.bytes()
    bench.write('disk.img', bytes)
    const content = await diskOf(kind, bytes)
    requireSound(bench, kind, 'disk.img', content, true)
    requireFileSystem(bench, content, [])
  }

  test.each(KINDS)(
    'loses power in mid-write on %s, and nothing that it had synced',
    async (kind) => {
      const rounds = LONG ? 10 : 1
      for (let round = 0; round < rounds; round++) {
        const seed = LONG ? Math.floor(Math.random() * 2 ** 32) : 86
        await survive(kind, seed, true).catch((error: unknown) => {
          throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
        })
      }
    },
    PATIENCE * (LONG ? 10 : 1),
  )

  test(
    'loses nothing either where its flushes are not heard: every write is durable then',
    () => survive('qcow2 with lazy refcounts', 87, false),
    PATIENCE,
  )

  test(
    'is told of failures, waits for room, and trims',
    async () => {
      const below = new MoodyDisk(DISK)
      const disk = new V86Disk(below.node, { identity: IDENTITY })
      const machine = await start(disk)
      const write = 'dd if=/bin/busybox of=/dev/sda bs=4k count=16 conv=fsync'
      await machine.run(`dmesg -n 1; ${write}`)
      below.fail('flush', 'EIO')
      expect((await machine.attempt(write)).output).toContain('Input/output error')
      below.fail('flush')
      await machine.run(write)
      below.fail('read', 'EIO')
      const read = 'dd if=/dev/sda of=/dev/null bs=4k count=1 skip=3000'
      expect((await machine.attempt(read)).output).toContain('Input/output error')
      below.fail('read')
      await machine.run(read)

      below.fail('write', 'ENOSPC')
      const stopped = new Promise<void>((resolve) => disk.once('stop', () => resolve()))
      const waiting = machine.run(write)
      await stopped
      while (machine.emulator.is_running()) await new Promise((resolve) => setImmediate(resolve))
      below.fail('write')
      disk.resume()
      await waiting

      expect(disk.statistics.discards).toBe(0)
      await machine.run('blkdiscard /dev/sda && sync')
      expect(await below.content(0, 65536)).toEqual(new Uint8Array(65536))
      // The guest turns the write cache off.
      await machine.run('echo "write through" > /sys/class/scsi_disk/0:0:0:0/cache_type')
      expect(disk.durability).toBe('write-through')
      const flushes = below.count('flush')
      await machine.run(write)
      expect(below.count('flush')).toBeGreaterThan(flushes)
      await machine.destroy()
      await disk.close()
    },
    PATIENCE,
  )

  /** Boots, writes, and compares the guest's data with the contents of the image. */
  async function bootAndWrite(options: MachineOptions, settings: V86DiskOptions = {}): Promise<void> {
    const below = new MoodyDisk(DISK)
    const disk = new V86Disk(below.node, { identity: IDENTITY, ...settings })
    const machine = await start(disk, { state: undefined, ...options })
    const files = await populate(machine)
    await machine.run('cd / && umount /mnt')
    await machine.destroy()
    await disk.close()
    const bench = newBench()
    const found = requireFileSystem(bench, await below.content(0, DISK), FILES)
    if (found.size > 0) expect(found).toEqual(files)
  }

  test.runIf(LONG).each(V86_RELEASES)(
    'boots in %s, attached and as it is',
    async (release) => {
      await bootAndWrite({ release })
      await bootAndWrite({ release, attach: false }, { durability: 'write-through' })
    },
    PATIENCE * 2,
  )

  test.runIf(LONG).each([true, false])(
    'writes by PIO, attached: %s, with little room',
    async (attach) => {
      await bootAndWrite({ append: 'libata.dma=0', attach }, { writeBuffer: 65536, cacheSize: 2 ** 20 })
    },
    PATIENCE,
  )
})
