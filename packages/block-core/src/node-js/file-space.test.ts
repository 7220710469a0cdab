/** Files on hosts that have more, fewer, and stranger system calls than plain Node. */

import { readFileSync, statSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import { opsOf } from '../graph/node-internals.ts'
import type { HostCalls } from './host-calls.ts'
import { systemCalls } from './koffi.ts'
import { openFile, ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())
const newFile = (content?: string | Uint8Array): string => scratch.newFile(content)

describe('with a host that has more system calls', () => {
  it('finds holes, punches them and zeroes ranges', async () => {
    const calls: string[] = []
    const path = newFile(new Uint8Array(100_000).fill(1))
    const node = await openFile(
      path,
      { discard: 'unmap' },
      {
        hostCalls: {
          punchHole: async (_, offset, bytes) => void calls.push(`punch ${offset} ${bytes}`),
          zeroRange: async (_, offset, bytes) => void calls.push(`zero ${offset} ${bytes}`),
          seekData: async (_, offset) => (offset < 4096 ? 4096 : offset < 8192 ? offset : undefined),
          seekHole: async () => 8192,
        },
      },
    )
    const status = async (offset: number) => {
      const { bytes, data, zero } = await node.blockStatus(offset, 50_000)
      return { bytes, data, zero }
    }
    expect(await status(0)).toEqual({ bytes: 4096, data: false, zero: true })
    expect(await status(5000)).toEqual({ bytes: 3192, data: true, zero: false })
    expect(await status(8192)).toEqual({ bytes: 50_000, data: false, zero: true })
    await node.discard(4096, 4096)
    await node.writeZeroes(0, 512, { mayUnmap: true })
    await node.writeZeroes(512, 512)
    await node.writeZeroes(100_000, 512, { mayUnmap: true })
    expect(node.size).toBe(100_512)
    await node.writeZeroes(100_000, 1024, { mayUnmap: true })
    expect(node.size).toBe(101_024)
    await node.writeZeroes(101_024, 512)
    expect(calls).toEqual([
      'punch 4096 4096',
      'punch 0 512',
      'zero 512 512',
      'punch 100000 512',
      'zero 101024 512',
    ])
    expect(node.size).toBe(101_536)
    await node.close()
  })

  it('stops asking for a call that the file system does not have', async () => {
    let asked = 0
    const zeroRange = (): Promise<void> => {
      asked++
      return Promise.reject(Object.assign(new Error('no'), { code: 'EOPNOTSUPP' }))
    }
    const path = newFile(new Uint8Array(1000).fill(1))
    const node = await openFile(path, {}, { hostCalls: { zeroRange } })
    await node.writeZeroes(0, 100)
    await node.writeZeroes(100, 100)
    await node.close()
    expect(asked).toBe(1)
    expect(readFileSync(path).subarray(0, 201)).toEqual(Buffer.concat([Buffer.alloc(200), Buffer.from([1])]))
  })
})

/** A host call that fails. */
const failing = (code: string) => (): Promise<never> =>
  Promise.reject(Object.assign(new Error(code), { code }))

describe('zeroes without writing', () => {
  /** Runs a request on a host whose calls fail as given. @returns the calls made, in order */
  const asked = async (says: Partial<Record<keyof HostCalls, string>>, unmap: boolean): Promise<string[]> => {
    const calls: string[] = []
    const call = (name: 'punchHole' | 'zeroRange' | 'allocate') => () => {
      calls.push(name)
      return says[name] === undefined ? Promise.resolve() : failing(says[name])()
    }
    const hostCalls = {
      punchHole: call('punchHole'),
      zeroRange: call('zeroRange'),
      allocate: call('allocate'),
    }
    const path = newFile(new Uint8Array(4096).fill(1))
    const node = await openFile(path, { discard: 'unmap' }, { hostCalls })
    for (let round = 0; round < 2; round++)
      await node
        .writeZeroes(0, 512, { mayUnmap: unmap })
        .catch((error: { code: string }) => calls.push(error.code))
    await node.close()
    if (readFileSync(path)[0] === 0) calls.push('written')
    return calls
  }

  it.each([
    ['a hole, where that will do', {}, true, ['punchHole', 'punchHole']],
    ['a zero range', {}, false, ['zeroRange', 'zeroRange']],
    [
      'a zero range where a hole is refused',
      { punchHole: 'EINVAL' },
      true,
      ['punchHole', 'zeroRange', 'punchHole', 'zeroRange'],
    ],
    [
      'a zero range alone once there are no holes',
      { punchHole: 'EOPNOTSUPP' },
      true,
      ['punchHole', 'zeroRange', 'zeroRange'],
    ],
    [
      'a hole that is filled again',
      { zeroRange: 'EOPNOTSUPP' },
      false,
      ['zeroRange', 'punchHole', 'allocate', 'punchHole', 'allocate'],
    ],
    [
      'zeroes that are written',
      { zeroRange: 'ENODEV', punchHole: 'ENOSYS' },
      false,
      ['zeroRange', 'punchHole', 'written'],
    ],
    ['an error of the disk, told', { zeroRange: 'EIO' }, false, ['zeroRange', 'EIO', 'zeroRange', 'EIO']],
  ] as const)('%s', async (_, says, unmap, expected) => {
    expect(await asked(says, unmap)).toEqual(expected)
  })
})

describe('the status of a file', () => {
  it('is asked for once for a run of data, until something of it is zeroed, discarded or cut off', async () => {
    let seeks = 0
    const hostCalls: HostCalls = {
      seekData: async (_, offset) => {
        seeks++
        return offset
      },
      seekHole: async () => 50_000,
      punchHole: async () => {},
      zeroRange: async () => {},
    }
    const node = await openFile(newFile(new Uint8Array(100_000)), { discard: 'unmap' }, { hostCalls })
    const look = async (offset: number): Promise<[bytes: number, seeks: number]> => {
      seeks = 0
      return [(await node.blockStatus(offset, 60_000)).bytes, seeks]
    }
    expect(await look(1000)).toEqual([49_000, 1])
    expect(await look(2000)).toEqual([48_000, 0])
    expect(await look(49_999)).toEqual([1, 0])
    expect(await look(0)).toEqual([50_000, 1])
    await node.write(10, new Uint8Array(10))
    expect((await look(10))[1]).toBe(0)
    await node.discard(49_000, 5000)
    expect((await look(10))[1]).toBe(1)
    await node.writeZeroes(60_000, 5000)
    expect((await look(10))[1]).toBe(0)
    await node.writeZeroes(0, 512)
    expect((await look(10))[1]).toBe(1)
    await node.truncate(40_000)
    expect(await look(10)).toEqual([39_990, 1])
    await node.close()
  })

  it('is data where the host cannot tell', async () => {
    const hostCalls = { seekData: failing('EINVAL'), seekHole: failing('EINVAL') }
    const node = await openFile(newFile(new Uint8Array(1000)), {}, { hostCalls })
    expect(await node.blockStatus(0, 1000)).toEqual({ bytes: 1000, allocated: true, data: true, zero: false })
    await node.close()
  })
})

/** 1 MiB of bytes with a long period. */
const numbers = (): Uint8Array => new Uint8Array(2 ** 20).map((_, index) => (index * 31 + (index >> 8)) & 255)

async function bytesOf(node: BlockNode): Promise<Buffer> {
  const bytes = Buffer.alloc(node.size)
  await node.read(0, bytes)
  return bytes
}

describe.runIf(systemCalls.copyRange !== undefined)('copying inside the host', () => {
  it.each(['sync', 'threads', 'adaptive'])(
    'aio=%s: moves bytes between files, and lets one grow',
    async (aio) => {
      const content = numbers()
      const source = await openFile(newFile(content), { aio, readOnly: true })
      const target = await openFile(newFile(new Uint8Array(1000)), { aio })
      await target.copyRange(500, 700_001, source, 12_345)
      expect(target.size).toBe(700_501)
      const expected = Buffer.concat([Buffer.alloc(500), content.subarray(12_345, 12_345 + 700_001)])
      expect(Buffer.compare(await bytesOf(target), expected)).toBe(0)
      // Only reads get zeroes beyond the end, not copies.
      await expect(target.copyRange(0, 10, source, 2 ** 20 - 9)).rejects.toMatchObject({ code: 'ENOTSUP' })
      await expect(target.copyRange(0, 10, target, 100)).rejects.toMatchObject({ code: 'ENOTSUP' })
      await expect(source.copyRange(0, 10, target, 0)).rejects.toMatchObject({ code: 'EPERM' })
      await source.close()
      await expect(target.copyRange(0, 10, source, 0)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
      await target.close()
    },
  )

  it('is durable after a flush, like a write', async () => {
    const source = await openFile(newFile(numbers()))
    const target = await openFile(newFile(''))
    let flushes = 0
    const ops = opsOf(target)
    const { flush } = ops
    ops.flush = () => {
      flushes++
      return flush!.call(ops)
    }
    await target.flush()
    await target.copyRange(0, 4096, source, 0)
    await target.flush()
    expect(flushes).toBe(1)
    await Promise.all([source.close(), target.close()])
  })
})

describe('where the host cannot copy', () => {
  const copy = async (copyRange: HostCalls['copyRange']): Promise<unknown> => {
    const parts = { hostCalls: copyRange ? { copyRange } : {} }
    const source = await openFile(newFile(new Uint8Array(8192)), {}, parts)
    const target = await openFile(newFile(new Uint8Array(8192)), {}, parts)
    const errors: unknown[] = []
    target.on('io-error', ({ error }) => errors.push(error))
    const outcome = await target.copyRange(0, 8192, source, 0).then(
      () => 'copied',
      (error: { code: string }) => error.code,
    )
    await Promise.all([source.close(), target.close()])
    return [outcome, errors.length]
  }

  it('says so in one way, and only what fails is an error of the disk', async () => {
    for (const code of ['EXDEV', 'EINVAL', 'ENOSYS', 'EOPNOTSUPP'])
      expect(await copy(failing(code)), code).toEqual(['ENOTSUP', 0])
    expect(await copy(undefined)).toEqual(['ENOTSUP', 0])
    expect(await copy(async () => 0)).toEqual(['ENOTSUP', 0])
    expect(await copy(failing('ENOSPC'))).toEqual(['ENOSPC', 1])
    expect(await copy(async (_from, _to, bytes) => Math.min(bytes, 1000))).toEqual(['copied', 0])
  })

  it('makes room for zeroes beyond the end all the same', async () => {
    const path = newFile('abc')
    const node = await openFile(path, { discard: 'unmap' })
    await node.writeZeroes(3, 50_000_000, { mayUnmap: true })
    expect(node.size).toBe(50_000_003)
    expect(statSync(path).blocks * 512).toBeLessThan(1_000_000)
    await node.close()
  })
})
