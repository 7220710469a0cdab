/**
 * The drives of several releases of v86, without a guest: driven through their ports, unmodified and
 * attached.
 */
import { attachDisk, type DiskOptions, insertCdrom, insertFloppy, V86Disk } from '@vmblock/v86'
import { afterEach, describe, expect, it } from 'vitest'
import { BareDrive, FAULT, WELL } from './src/bare-metal.ts'
import { haveGuest } from './src/guest-files.ts'
import { type Emulator, makeEmulator, V86_RELEASES } from './src/machine.ts'
import { MoodyDisk } from './src/moody-disk.ts'

const SIZE = 2 ** 20
const bytes = (value: number, length = 512): Uint8Array => new Uint8Array(length).fill(value)

/** Words of IDENTIFY DEVICE. */
const SUPPORTED = 82
const ENABLED = 85
const WRITE_CACHE = 0x20

/** The devices of a machine that may have disks. */
interface Devices {
  readonly ide: { readonly primary: { readonly master: object } }
  readonly cdrom: { readonly buffer: unknown }
  readonly fdc: { readonly drives: readonly { readonly buffer: unknown }[] }
}

const devicesOf = (emulator: Emulator): Devices =>
  (emulator as unknown as { readonly v86: { readonly cpu: { readonly devices: Devices } } }).v86.cpu.devices

describe.skipIf(!haveGuest).each(V86_RELEASES)('drives of %s', (release) => {
  let emulator: Emulator | undefined
  afterEach(async () => {
    await emulator?.destroy()
    emulator = undefined
  })

  async function stage(options: DiskOptions = {}) {
    const below = new MoodyDisk(SIZE)
    const disk = new V86Disk(below.node, { flushInterval: 0, ...options })
    emulator = await makeEmulator({ memory_size: 2 ** 24, hda: disk }, release)
    const drive = new BareDrive(emulator)
    const attach = (): ReturnType<typeof attachDisk> => attachDisk(emulator, disk)
    return { below, disk, drive, attach }
  }

  it('as they are: transfers by DMA and PIO come back, flushes do not reach us', async () => {
    const { below, drive } = await stage()
    drive.startDmaWrite(3, bytes(1, 4096))
    expect(await drive.outcome()).toEqual({ status: WELL, error: 0 })
    drive.startPioWrite(100, bytes(2, 1024))
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    drive.startDmaRead(3, 4096)
    await drive.outcome()
    expect(drive.transferred(4096)).toEqual(bytes(1, 4096))
    drive.startDmaRead(100, 1024)
    await drive.outcome()
    expect(drive.transferred(1024)).toEqual(bytes(2, 1024))
    expect(drive.identify()[ENABLED]! & WRITE_CACHE).toBe(0)
    drive.command(0xe7)
    expect(drive.status).toBe(WELL)
    expect(below.count('flush')).toBe(0)
  })

  it('attached: they tell of a write cache and of TRIM, and have the sectors they had', async () => {
    const { drive, attach } = await stage()
    const before = drive.identify()
    attach()
    const after = drive.identify()
    expect([after[SUPPORTED]! & WRITE_CACHE, after[ENABLED]! & WRITE_CACHE]).toEqual([
      WRITE_CACHE,
      WRITE_CACHE,
    ])
    expect([after[80]! & 0x80, after[169]! & 1]).toEqual([0x80, 1])
    for (const word of [60, 61, 83, 86, 100, 101]) expect(after[word]).toBe(before[word])
    expect(after[60]).toBe(SIZE / 512)
  })

  it('attached: a flush ends when ours does, and fails with it', async () => {
    const { below, drive, attach } = await stage()
    attach()
    for (const command of [0xe7, 0xea, 0xe0]) {
      below.hold('flush')
      drive.startDmaWrite(0, bytes(1))
      await drive.outcome()
      drive.command(command)
      expect(await drive.outcome(20)).toBeUndefined()
      below.release('flush')
      expect(await drive.outcome()).toEqual({ status: WELL, error: 0 })
    }
    expect(below.count('flush')).toBe(3)
    below.fail('flush', 'EIO')
    drive.startDmaWrite(0, bytes(2))
    await drive.outcome()
    drive.command(0xe7)
    expect(await drive.outcome()).toEqual(FAULT)
    below.fail('flush')
    drive.command(0xe7)
    expect(await drive.outcome()).toMatchObject({ status: WELL })
  })

  it('attached: a read that fails, and a write that the guest waits for, end as faults of the medium', async () => {
    const { below, drive, attach } = await stage({ durability: 'write-through' })
    attach()
    expect(drive.identify()[ENABLED]! & WRITE_CACHE).toBe(0)
    below.fail('read', 'EIO')
    drive.startDmaRead(1000, 4096)
    expect(await drive.outcome()).toEqual(FAULT)
    below.fail('read')
    drive.startDmaRead(1000, 4096)
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    below.fail('write', 'EIO')
    drive.startDmaWrite(8, bytes(1))
    expect(await drive.outcome()).toEqual(FAULT)
    drive.startPioWrite(8, bytes(1))
    expect(await drive.outcome()).toEqual(FAULT)
    below.fail('write')
    drive.startPioWrite(8, bytes(2))
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    expect(await below.content(4096, 512)).toEqual(bytes(2))
  })

  it('attached: TRIM reaches the image, behind the writes before it', async () => {
    const { below, drive, attach } = await stage()
    attach()
    drive.startDmaWrite(0, bytes(1, 65536))
    await drive.outcome()
    const ranges = new DataView(new ArrayBuffer(512))
    ranges.setUint32(0, 8, true)
    ranges.setUint16(6, 16, true)
    ranges.setUint32(8, 100, true)
    ranges.setUint16(14, 1, true)
    drive.startDmaWrite(0, new Uint8Array(ranges.buffer), 0x06, 1)
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    drive.command(0xe7)
    await drive.outcome()
    // The first is the read of the partition table.
    expect(below.log).toEqual(['read', 'write', 'discard', 'discard', 'flush'])
    expect(await below.content(0, 13 * 1024)).toEqual(
      new Uint8Array([...bytes(1, 4096), ...bytes(0, 8192), ...bytes(1, 1024)]),
    )
    // The next write is an ordinary one again.
    drive.startDmaWrite(8, bytes(3))
    await drive.outcome()
    drive.startDmaRead(8, 512)
    await drive.outcome()
    expect(drive.transferred(512)).toEqual(bytes(3))
    // Beyond the end of the disk.
    ranges.setUint32(0, SIZE, true)
    drive.startDmaWrite(0, new Uint8Array(ranges.buffer), 0x06, 1)
    expect(await drive.outcome()).toEqual(FAULT)
  })

  it('attached: PIO waits for room; as they are it does not', async () => {
    for (const isAttached of [false, true]) {
      const { below, disk, drive, attach } = await stage({ writeBuffer: 1024 })
      if (isAttached) attach()
      below.hold('write')
      for (let sector = 0; sector < 8; sector++) {
        drive.startPioWrite(sector * 2, bytes(sector + 1))
        if (!(await drive.outcome(20))) break
      }
      expect(disk.statistics.bytesPending).toBe(isAttached ? 1536 : 8 * 512)
      below.release('write')
      expect(await drive.outcome()).toMatchObject({ status: WELL })
      await disk.flush()
      expect((await below.content(2048, 1))[0]).toBe(3)
      await emulator?.destroy()
    }
  })

  it('attached: what was begun before a reset does not end after it', async () => {
    const { below, disk, drive, attach } = await stage({ durability: 'write-through' })
    attach()
    below.hold('write')
    drive.startDmaWrite(0, bytes(1))
    expect(await drive.outcome(20)).toBeUndefined()
    drive.reset()
    const { status } = drive
    below.release('write')
    await disk.drain()
    expect(drive.status).toBe(status)
    below.hold('flush')
    drive.command(0xe7)
    drive.reset()
    below.release('flush')
    await disk.flush()
    expect(drive.status).toBe(status)
    drive.startDmaWrite(0, bytes(2))
    expect(await drive.outcome()).toMatchObject({ status: WELL })
  })

  it('attached: the guest may turn the write cache off, and on again', async () => {
    const { below, disk, drive, attach } = await stage()
    attach()
    drive.startDmaWrite(0, bytes(1))
    await drive.outcome()
    drive.command(0xef, 0x82)
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    expect([disk.durability, below.count('flush')]).toEqual(['write-through', 1])
    expect(drive.identify()[ENABLED]! & WRITE_CACHE).toBe(0)
    drive.startDmaWrite(0, bytes(2))
    await drive.outcome()
    expect(below.count('flush')).toBe(2)
    drive.command(0xef, 0x02)
    expect([disk.durability, drive.identify()[ENABLED]! & WRITE_CACHE]).toEqual(['write-back', WRITE_CACHE])
  })

  it('attached: without room the guest’s flush waits until there is some', async () => {
    const { below, disk, drive, attach } = await stage()
    attach()
    below.fail('write', 'ENOSPC')
    drive.startDmaWrite(0, bytes(1))
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    drive.command(0xe7)
    expect(await drive.outcome(20)).toBeUndefined()
    expect(disk.isStopped).toBe(true)
    below.fail('write')
    disk.resume()
    expect(await drive.outcome()).toMatchObject({ status: WELL })
    expect(await below.content(0, 512)).toEqual(bytes(1))
  })

  it('detached: they are as before, and no write is lost by that', async () => {
    const { below, disk, drive, attach } = await stage()
    const attachment = attach()
    expect(() => attach()).toThrow(expect.objectContaining({ code: 'EBUSY' }))
    drive.identify()
    attachment.detach()
    attachment.detach()
    expect(disk.durability).toBe('write-through')
    expect(drive.identify()[ENABLED]! & WRITE_CACHE).toBe(0)
    drive.startDmaWrite(0, bytes(1))
    await drive.outcome()
    expect(below.count('flush')).toBe(1)
    attach()
    expect([disk.durability, drive.identify()[ENABLED]! & WRITE_CACHE]).toEqual(['write-back', WRITE_CACHE])
  })

  it('take CDs and floppies; a CD that cannot be read is an error of that read, once it is attached', async () => {
    await stage()
    const { cdrom, fdc } = devicesOf(emulator!)
    const below = new MoodyDisk(2048 * 100)
    await below.node.write(2048 * 50, bytes(5, 2048))
    const cd = new V86Disk(below.node)
    await insertCdrom(emulator, cd)
    expect(cdrom.buffer).toBe(cd)
    const drive = new BareDrive(emulator!, 1)
    // A change of the medium is reported first, in two steps: no medium, then a new one.
    for (let told = 0; told < 2; told++) await drive.readCd(50)
    expect(await drive.readCd(50)).toEqual({ status: WELL, error: 0, data: bytes(5, 2048) })
    attachDisk(emulator, cd)
    below.fail('read', 'EIO')
    expect(await drive.readCd(99)).toMatchObject({ status: 0x41, error: 0x30 })
    below.fail('read')
    expect(await drive.readCd(99)).toMatchObject({ status: WELL, data: bytes(0, 2048) })

    const floppy = new V86Disk(new MoodyDisk(1440 * 1024).node)
    await insertFloppy(emulator, floppy)
    expect(fdc.drives[0]!.buffer).toBe(floppy)
    const odd = new V86Disk(new MoodyDisk(1000 * 512).node)
    await expect(insertFloppy(emulator, odd)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(fdc.drives[0]!.buffer).toBeNull()
    await expect(insertCdrom({}, cd)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  it('pauses while there is no room, and goes on after', async () => {
    const { below, disk, drive, attach } = await stage()
    attach()
    await emulator!.run()
    below.fail('write', 'ENOSPC')
    const stopped = new Promise<void>((resolve) => disk.once('stop', () => resolve()))
    await disk.write(0, bytes(1))
    await stopped
    while (emulator!.is_running()) await new Promise((resolve) => setImmediate(resolve))
    below.fail('write')
    disk.resume()
    while (!emulator!.is_running()) await new Promise((resolve) => setImmediate(resolve))
    expect(drive.isBusy).toBe(false)
  })

  it('refuses what it does not know', async () => {
    const { disk } = await stage()
    const other = new V86Disk(new MoodyDisk(SIZE).node)
    expect(() => attachDisk(emulator, other)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(() => attachDisk({}, disk)).toThrow(expect.objectContaining({ code: 'ENOTSUP' }))
    const methods = Object.getPrototypeOf(devicesOf(emulator!).ide.primary.master) as Record<string, unknown>
    const changes: Record<string, unknown>[] = [
      { ata_command: undefined },
      { do_write: (_: number) => undefined },
      { create_identify_packet() {} },
      { ata_command(_: number) {} },
      { do_ata_write_sectors_dma() {} },
      { do_write() {} },
      { cancel_io_operations() {} },
      { read_buffer(_a: number, _b: number, _c: unknown) {} },
      { device_reset() {} },
      { atapi_check_condition_response(_a: number, _b: number) {} },
      {
        push_irq() {
          throw new Error('changed')
        },
      },
    ]
    for (const change of changes) {
      const changed = Object.assign(Object.create(methods) as object, change)
      const drive = Object.assign(Object.create(changed) as object, { buffer: disk })
      const strange = { v86: { cpu: { devices: { ide: { primary: { master: drive } } } } } }
      expect(() => attachDisk(strange, disk), Object.keys(change).join()).toThrow(
        expect.objectContaining({ code: 'ENOTSUP' }),
      )
    }
  })
})
