/** Images on block devices: a loop device, where one is available (Linux, root, `losetup`). */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BlockNode, DriverRegistry, formatImage, openNode, reopenNode } from '@vmblock/block-core'
import {
  file,
  fileDriver,
  filenameToOptions,
  hostCdrom,
  hostDevice,
  hostDeviceDriver,
  nodeHost,
  systemCalls,
} from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'vmblock-devices-'))
afterAll(() => rmSync(directory, { recursive: true }))
let count = 0
/** Makes a new file with some content; without content returns only its name. */
function newFile(content?: Uint8Array): string {
  const path = join(directory, `file-${count++}`)
  if (content) writeFileSync(path, content)
  return path
}
const registry = new DriverRegistry([raw, qcow2, file, hostDevice, hostCdrom])
const environment = { registry, host: nodeHost() }
const isLinux = process.platform === 'linux'

/** Attaches a loop device to a file, if one is available. */
function attach(path: string): string | undefined {
  if (!isLinux || process.getuid?.() !== 0) return undefined
  const { status, stdout } = spawnSync('losetup', ['-f', '--show', path], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}
function detach(device: string): void {
  // A device stays read-only after it is detached.
  spawnSync('blockdev', ['--setrw', device])
  spawnSync('losetup', ['-d', device])
}

const haveLoop = (() => {
  const path = newFile(new Uint8Array(4096))
  const device = attach(path)
  if (device) detach(device)
  return device !== undefined
})()

const SIZE = 4 * 2 ** 20

describe.skipIf(!haveLoop)('a loop device', () => {
  let [path, device] = ['', '']
  beforeEach(() => {
    path = newFile(new Uint8Array(SIZE).fill(0x5a))
    device = attach(path)!
  })
  afterEach(() => detach(device))
  const content = (offset: number, bytes: number): Buffer => {
    execFileSync('sync', [device])
    return readFileSync(device).subarray(offset, offset + bytes)
  }
  const using = async <T>(
    options: Record<string, unknown>,
    run: (node: BlockNode) => Promise<T>,
  ): Promise<T> => {
    const node = await openNode(environment, options)
    try {
      return await run(node)
    } finally {
      await node.close()
    }
  }

  it('is found by its name, also through a link and a name with a colon', async () => {
    const link = newFile()
    symlinkSync(device, link)
    for (const filename of [device, link, `host_device:${device}`, `host_cdrom:${device}`])
      await using({ filename, driver: 'raw', readOnly: true }, async (node) => {
        expect([node.size, node.filename]).toEqual([SIZE, filename.replace(/^host_\w+:/, '')])
        expect(node.growable).toBe(false)
        expect((await node.info()).actualSize).toBe(0)
      })
    expect(filenameToOptions(registry, device)['driver']).toBe('host_device')
    await expect(openNode(environment, { driver: 'file', filename: device })).rejects.toThrow(
      `'file' driver requires '${device}' to be a regular file`,
    )
  })

  it.each([false, true])('reads, writes, zeroes and discards (O_DIRECT: %s)', async (direct) => {
    const options = { driver: 'raw', filename: device, discard: 'unmap', cache: { direct } }
    await using(options, async (node) => {
      await node.write(100, new Uint8Array(3).fill(1))
      await node.writeZeroes(4096, 8192, { mayUnmap: true })
      await node.writeZeroes(65536, 512)
      if (systemCalls.discardDevice) await node.discard(2 ** 20, 2 ** 20)
      await node.flush()
      const into = new Uint8Array(2 ** 20)
      await node.read(2 ** 20, into)
      if (systemCalls.discardDevice) expect(into.every((byte) => byte === 0)).toBe(true)
      expect(await node.blockStatus(0, SIZE)).toMatchObject({ bytes: SIZE, data: true, zero: false })
    })
    expect([...content(99, 5)]).toEqual([0x5a, 1, 1, 1, 0x5a])
    expect(content(4096, 8192).every((byte) => byte === 0)).toBe(true)
    expect([...content(65535, 514)].map((byte, i) => byte === (i > 0 && i < 513 ? 0 : 0x5a))).not.toContain(
      false,
    )
  })

  it('ends where it ends', async () => {
    await using({ driver: 'raw', filename: device }, async (node) => {
      await expect(node.write(SIZE, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
      await expect(node.read(SIZE, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
      await node.truncate(SIZE - 512)
      await node.truncate(SIZE, { exact: true })
      expect(node.size).toBe(SIZE)
      for (const size of [SIZE - 512, SIZE + 512])
        await expect(node.truncate(size, { exact: true })).rejects.toThrow('Cannot resize device files')
      await expect(node.truncate(SIZE + 512)).rejects.toThrow('Cannot grow device files')
      await expect(node.truncate(SIZE, { preallocation: 'full' })).rejects.toThrow(
        "Preallocation mode 'full' unsupported for this non-regular file",
      )
    })
  })

  it('is refused for writing where it is read-only, and opened for reading where that is allowed', async () => {
    execFileSync('blockdev', ['--setro', device])
    await expect(openNode(environment, { filename: device })).rejects.toMatchObject({
      code: 'EACCES',
      message: 'The device is not writable: Permission denied',
    })
    await using({ filename: device, driver: 'raw', autoReadOnly: true }, async (node) => {
      expect(node.readOnly).toBe(true)
    })
  })

  it('has one identity, by whatever name', async () => {
    const node = `${newFile()}-node`
    const [major, minor] = deviceNumbersOf(device)
    execFileSync('mknod', [node, 'b', major, minor])
    await using({ filename: device, driver: 'raw' }, async () => {
      const image = { driver: 'qcow2', file: { driver: 'host_device', filename: node } } as const
      await expect(openNode(environment, image)).rejects.toMatchObject({ code: 'EBUSY' })
    })
    rmSync(node)
  })

  it('holds a qcow2 image, of which nothing is read that was there before', async () => {
    await using({ driver: 'host_device', filename: device }, async (node) => {
      await formatImage(qcow2, node, { size: 2 ** 30 }, undefined, { overwrite: true })
    })
    await using({ filename: device }, async (node) => {
      expect([node.driver.name, node.size]).toEqual(['qcow2', 2 ** 30])
      await node.write(0, new Uint8Array(2 ** 20).fill(7))
      const into = new Uint8Array(65536)
      await node.read(2 ** 20, into)
      expect(into.every((byte) => byte === 0)).toBe(true)
      expect((await node.check()).imageEndOffset).toBeLessThan(SIZE)
      // The part of the write that fits may have been written.
      await expect(node.write(2 ** 21, new Uint8Array(3 * 2 ** 20))).rejects.toMatchObject({ code: 'ENOSPC' })
      expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
    })
    await using({ filename: device, driver: 'qcow2', readOnly: true }, async (node) => {
      expect(await node.check()).toMatchObject({
        corruptions: 0,
        leaks: 0,
        imageEndOffset: expect.any(Number),
      })
      expect((await node.check()).imageEndOffset).toBeLessThanOrEqual(SIZE)
    })
  })

  it('shows no old bytes in clusters that were preallocated', async () => {
    await using({ driver: 'host_device', filename: device }, async (node) => {
      await formatImage(qcow2, node, { size: 2 ** 20, preallocation: 'metadata' }, undefined, {
        overwrite: true,
      })
    })
    await using({ filename: device }, async (node) => {
      const into = new Uint8Array(2 ** 20)
      await node.read(0, into)
      expect(into.every((byte) => byte === 0)).toBe(true)
    })
  })

  it('keeps what it holds where a new image does not fit', async () => {
    await using({ driver: 'host_device', filename: device }, async (node) => {
      await expect(
        formatImage(raw, node, { size: SIZE + 512 }, undefined, { overwrite: true }),
      ).rejects.toThrow('Cannot grow device files')
      await expect(
        formatImage(raw, node, { size: 512, preallocation: 'full' }, undefined, { overwrite: true }),
      ).rejects.toThrow("Unsupported preallocation mode 'full'")
      await expect(
        formatImage(qcow2, node, { size: 2 ** 23, preallocation: 'metadata' }, undefined, {
          overwrite: true,
        }),
      ).rejects.toThrow('Could not resize image: Failed to resize underlying file: Cannot grow device files')
      await expect(
        formatImage(qcow2, node, { size: 2 ** 20, clusterSize: 2 ** 21 }, undefined, { overwrite: true }),
      ).rejects.toMatchObject({
        code: 'ENOSPC',
      })
    })
    expect(content(0, 512).every((byte) => byte === 0x5a)).toBe(true)
    await using({ driver: 'host_device', filename: device }, (node) =>
      formatImage(raw, node, { size: 512 }, undefined, { overwrite: true }),
    )
    expect([...content(510, 4)]).toEqual([0, 0, 0x5a, 0x5a])
  })

  it('works without system calls that Node lacks', async () => {
    const plain = {
      registry: new DriverRegistry([
        raw,
        qcow2,
        fileDriver({ hostCalls: {} }),
        hostDeviceDriver('host_device', { hostCalls: {} }),
      ]),
      host: nodeHost(),
    }
    const node = await openNode(plain, { filename: device, driver: 'raw', discard: 'unmap' })
    expect(node.size).toBe(SIZE)
    await node.writeZeroes(512, 512, { mayUnmap: true })
    await node.discard(0, SIZE)
    await node.close()
    expect(content(512, 512).every((byte) => byte === 0)).toBe(true)
  })

  it('is reopened', async () => {
    await using({ driver: 'raw', filename: device, readOnly: true }, async (node) => {
      await reopenNode(node, { readOnly: false })
      await node.write(0, new Uint8Array(512).fill(9))
      expect(node.size).toBe(SIZE)
    })
    expect(content(0, 1)[0]).toBe(9)
  })

  function deviceNumbersOf(name: string): [string, string] {
    const text = execFileSync('stat', ['-c', '%t %T', name], { encoding: 'utf8' }).trim().split(' ')
    return [String(Number.parseInt(text[0]!, 16)), String(Number.parseInt(text[1]!, 16))]
  }
})
