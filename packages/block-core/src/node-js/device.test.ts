/** The checks of a device before use, without a real one; for those see `tests/interop/devices.test.ts`. */
import { execFileSync } from 'node:child_process'
import { afterAll, describe, expect, it } from 'vitest'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { filenameToOptions } from '../open/json-name.ts'
import { openNode } from '../open/open.ts'
import { deviceNumbers, deviceSize, endOf, isDevicePath, isReadOnlyDevice } from './device.ts'
import { file } from './file.ts'
import { nodeHost } from './file-resolver.ts'
import { hostCdrom, hostDevice } from './host-device.ts'
import { ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())
const registry = new DriverRegistry([file, hostDevice, hostCdrom])
const environment: OpenEnvironment = { registry, host: nodeHost() }
const isLinux = process.platform === 'linux'

describe('what the system says of a device', () => {
  it('knows the numbers of Linux', () => {
    expect(deviceNumbers(0x0801)).toBe('8:1')
    expect(deviceNumbers(0x700)).toBe('7:0')
    // Minor numbers from 256 on and major ones from 4096 on have bits elsewhere, too.
    expect(deviceNumbers(0x103045ab)).toBe('69:66475')
    expect(deviceNumbers(0xffff_ffff)).toBe(`${0xfff}:${0xfffff}`)
    expect(deviceNumbers(2 ** 44 + 0x100)).toBe('4097:0')
  })

  const block = { rdev: 0x700, isBlockDevice: () => true }
  it('asks for its size in sectors of 512', async () => {
    expect(await deviceSize(-1, block, async () => '8192')).toBe(4 * 2 ** 20)
    expect(await deviceSize(-1, { ...block, isBlockDevice: () => false })).toBe(0)
  })

  it('knows one that is write-protected', async () => {
    expect(await isReadOnlyDevice(block, async () => '1')).toBe(true)
    expect(await isReadOnlyDevice(block, async () => '0')).toBe(false)
    expect(await isReadOnlyDevice(block, async () => undefined)).toBe(false)
    expect(await isReadOnlyDevice({ ...block, isBlockDevice: () => false }, async () => '1')).toBe(false)
  })

  it.each([0, 1, 512, 4095, 4096, 4097, 8192, 8704, 2 ** 20, 2 ** 20 + 512, 3 * 2 ** 40 + 1024])(
    'finds the end of %i bytes by reading, in few reads',
    async (size) => {
      let reads = 0
      const end = await endOf(async (at) => {
        reads++
        return Math.max(0, Math.min(4096, size - at * 4096))
      })
      expect(end).toBe(size)
      expect(reads).toBeLessThan(100)
    },
  )

  it('finds none where there is no end', async () => {
    expect(await endOf(async () => 4096)).toBe(0)
  })

  it('takes for a device what Windows takes for one', () => {
    const names = ['\\\\.\\PhysicalDrive0', '//./C:', 'd:', 'C:\\x', 'd:x', '\\\\server\\x', 'x']
    expect(names.filter((name) => isDevicePath(name, 'win32'))).toEqual(names.slice(0, 3))
    expect(names.filter((name) => isDevicePath(name, 'linux'))).toEqual([])
  })
})

describe('what is no device', () => {
  const refusal = (driver: string, filename: string) =>
    openNode(environment, { driver, filename, readOnly: true }).then(
      () => undefined,
      (error: Error) => error.message,
    )

  it('is refused by name', async () => {
    const path = scratch.newFile(new Uint8Array(512))
    expect(await refusal('host_device', path)).toBe(
      `'host_device' driver requires '${path}' to be either a character or block device`,
    )
    expect(await refusal('host_cdrom', scratch.directory)).toBe(
      `'host_cdrom' driver requires '${scratch.directory}' to be either a character or block device`,
    )
  })

  it.skipIf(!isLinux)('is a file only where it is one, and holds nothing up', async () => {
    const fifo = scratch.newFile()
    execFileSync('mkfifo', [fifo])
    for (const name of [fifo, scratch.directory, '/dev/null'])
      expect(await refusal('file', name)).toBe(`'file' driver requires '${name}' to be a regular file`)
    expect(await refusal('host_device', fifo)).toMatch(/to be either a character or block device$/)
  })

  it.skipIf(!isLinux)('has no bytes where it has no end', async () => {
    for (const name of ['/dev/null', '/dev/zero']) {
      expect(filenameToOptions(registry, name)).toEqual({ driver: 'host_device', filename: name })
      const node = await openNode(environment, { driver: 'host_device', filename: name, readOnly: true })
      expect([node.size, node.filename]).toEqual([0, name])
      await node.close()
    }
  })
})
