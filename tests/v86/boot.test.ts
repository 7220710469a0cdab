/** Booting from our disks through the BIOS, in each release of v86: by PIO, with a disk that is slower than the guest. */
import { attachDisk, V86Disk } from '@vmblock/v86'
import { afterEach, describe, expect, it } from 'vitest'
import { bootSector, COUNT, MASK, SAID, TARGET } from './src/boot-sector.ts'
import { haveGuest } from './src/guest-files.ts'
import { type Emulator, makeEmulator, V86_RELEASES } from './src/machine.ts'
import { MoodyDisk } from './src/moody-disk.ts'

const SIZE = 2 ** 20
const DATA = Uint8Array.from({ length: COUNT * 512 }, (_, index) => (index * 7) % 251)

describe.skipIf(!haveGuest).each(V86_RELEASES)('a boot sector in %s', (release) => {
  let emulator: Emulator | undefined
  afterEach(async () => {
    await emulator?.destroy()
    emulator = undefined
  })

  it.each([
    ['as it is', false, {}],
    ['attached', true, {}],
    ['with nothing in memory, and every write durable', false, { cacheSize: 0, durability: 'write-through' }],
    ['attached, with room for nothing', true, { cacheSize: 0, writeBuffer: 0 }],
  ] as const)('reads, changes and writes sectors, %s', async (_, attach, options) => {
    const below = new MoodyDisk(SIZE)
    await below.node.write(0, bootSector())
    await below.node.write(512, DATA)
    const disk = new V86Disk(below.node, options)
    emulator = await makeEmulator({ memory_size: 2 ** 24, hda: disk }, release)
    if (attach) attachDisk(emulator, disk)
    const said = new Promise<string>((resolve) =>
      emulator!.add_listener('serial0-output-byte', (byte: number) => resolve(String.fromCharCode(byte))),
    )
    await emulator.run()
    expect(await said).toBe(SAID.well)
    await disk.flush()
    expect(await below.content(TARGET * 512, DATA.length)).toEqual(DATA.map((byte) => byte ^ MASK))
  })
})
