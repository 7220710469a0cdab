/**
 * Images that QEMU made in formats without a driver here are refused by name; and the guest of a disk that
 * was probed as raw cannot turn it into one of them, as QEMU sees it either.
 */
import { DriverRegistry, denyHost, isBlockError, memory, openNode } from '@vmblock/block-core'
import { file } from '@vmblock/block-core/node'
import { createRandom } from '@vmblock/block-core/testing'
import { raw } from '@vmblock/raw'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'

const bench = openBench()
afterAll(() => bench.remove())

/** As few drivers as an application may have. */
const environment = { registry: new DriverRegistry([raw, memory, file]), host: denyHost }

const SIZE = 1 << 20

/** Formats, and their creation options. */
const MADE: readonly (readonly [format: string, ...options: string[]])[] = [
  ['qcow2'],
  ['qed'],
  ['qcow'],
  ['vmdk'],
  ['vmdk', 'subformat=monolithicFlat'],
  ['vmdk', 'subformat=twoGbMaxExtentSparse'],
  ['vmdk', 'subformat=streamOptimized'],
  ['vdi'],
  ['vdi', 'static=on'],
  ['vpc'],
  ['vpc', 'subformat=fixed'],
  ['vpc', 'subformat=fixed,force_size=on'],
  ['vhdx'],
  ['vhdx', 'subformat=fixed'],
  ['parallels'],
  ['luks', 'key-secret=s,iter-time=10'],
]

const optionsOf = (options: readonly string[]): string[] => options.flatMap((option) => ['-o', option])

function make(name: string, format: string, options: readonly string[]): void {
  const secret = ['--object', 'secret,id=s,data=pw']
  const words = ['create', '-q', ...secret, '-f', format, ...optionsOf(options), name, `${SIZE}`]
  // QEMU measures how fast it derives keys, and gives up if the clock was too coarse ("accurate CPU usage").
  for (let tries = 0; tries < 20; tries++) if (bench.attempt('qemu-img', ...words).status === 0) return
  bench.run('qemu-img', ...words)
}

describe.skipIf(!haveQemu).each(MADE)('%s %s', (format, ...options) => {
  test('is refused by name', async () => {
    make('image', format, options)
    await expect(openNode(environment, bench.path('image'))).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining(`'${format}'`),
    })
  })

  test('is not what a guest makes of its disk', async () => {
    make('image', format, options)
    const image = bench.read('image')
    bench.run('qemu-img', 'create', '-q', '-f', 'raw', 'disk.img', `${Math.max(image.length, 512)}`)
    const guest = await openNode(environment, bench.path('disk.img'))
    const random = createRandom(1)
    let refusals = 0
    // The whole image, in pieces that may each be refused, in any order.
    for (let round = 0; round < 3; round++) {
      const pieces = Array.from({ length: Math.ceil(image.length / 4096) }, (_, index) => index * 4096)
      if (round > 0) pieces.sort(() => random.int(0, 2) - 1)
      for (const at of pieces)
        await guest.write(at, image.subarray(at, at + 4096)).catch((error: unknown) => {
          expect(isBlockError(error, 'EPERM')).toBe(true)
          refusals++
        })
    }
    for (let at = 0; at < 512; at += 16)
      await guest.write(at, image.subarray(at, at + 16)).catch(() => refusals++)
    await guest.close()
    expect(refusals).toBeGreaterThan(0)
    expect(JSON.parse(bench.run('qemu-img', 'info', '--output=json', 'disk.img')).format).toBe('raw')
    const again = await openNode(environment, bench.path('disk.img'))
    expect(again.driver.name).toBe('raw')
    await again.close()
  })
})

test.skipIf(!haveQemu)(
  'a descriptor that names a file of the host is not written, as QEMU does not write it',
  async () => {
    const text =
      'version=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 128 FLAT "secret.txt" 0\n'
    for (const prefix of ['# Disk DescriptorFile\n', '', '#\n', '#a\n \n#b\n', '   \n', ' \r\n']) {
      const sector = new Uint8Array(512)
      sector.set(new TextEncoder().encode(prefix + text))
      bench.write('sector', sector)
      bench.run('qemu-img', 'create', '-q', '-f', 'raw', 'disk.img', '1M')
      // Our guard has to recognize whatever QEMU recognizes.
      expect(bench.attempt('qemu-io', '-c', 'write -s sector 0 512', 'disk.img').status).toBe(1)
      const guest = await openNode(environment, bench.path('disk.img'))
      await expect(guest.write(0, sector)).rejects.toMatchObject({ code: 'EPERM' })
      await guest.close()
      expect(bench.read('disk.img').every((byte) => byte === 0)).toBe(true)
    }
  },
)

test.skipIf(!haveQemu)('a disk called .dmg does not get what QEMU takes for a trailer', async () => {
  const name = 'disk.dmg'
  for (const back of [1023, 800, 513, 512]) {
    bench.write(name, new Uint8Array(65536))
    const guest = await openNode(environment, bench.path(name))
    const letters = new TextEncoder().encode('koly')
    await expect(guest.write(65536 - back, letters)).rejects.toMatchObject({ code: 'EPERM' })
    await guest.write(65536 - 2000, letters)
    await guest.close()
    expect(bench.attempt('qemu-img', 'info', name).stderr).toContain('Could not locate UDIF trailer')
  }
})
