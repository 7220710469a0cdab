/** Each system call on a real file, on this thread and in the pool; and the behavior without koffi. */
import { closeSync, constants, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { aioCalls } from './aio-calls.ts'
import { allocateAligned } from './aligned-buffers.ts'
import type { ForeignFunctions, SystemCall } from './foreign-functions.ts'
import type { Where } from './host-calls.ts'
import { lazySystemCalls, systemCalls, systemCallsReport } from './koffi.ts'
import { ScratchFiles } from './scratch-files.ts'
import { makeSystemCalls } from './system-calls.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())

const BLOCK = 65536
const here = systemCalls
const has = here.punchHole !== undefined && here.seekData !== undefined
const isLinux = process.platform === 'linux'

/** Opens a new file of blocks, each data ('x') or a hole (' '). */
function fileOf(blocks: string): number {
  const fd = openSync(scratch.newFile(''), 'r+')
  ftruncateSync(fd, blocks.length * BLOCK)
  for (const [index, kind] of [...blocks].entries())
    if (kind !== ' ') writeSync(fd, new Uint8Array(BLOCK).fill(1), 0, BLOCK, index * BLOCK)
  return fd
}

/** The data ranges that the host reports. */
async function mapOf(fd: number, where: Where): Promise<[from: number, to: number][]> {
  const found: [number, number][] = []
  for (let at = 0; ; ) {
    const from = await here.seekData!(fd, at, where)
    if (from === undefined) return found
    at = await here.seekHole!(fd, from, where)
    found.push([from / BLOCK, at / BLOCK])
  }
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code?: unknown }) => error.code,
  )

it('is there where this system has a binary of koffi, and says what is there', () => {
  const report = systemCallsReport()
  if (isLinux && ['x64', 'arm64'].includes(process.arch) && report.missing === undefined) {
    expect(report.library).toMatch(/^koffi \d+\./)
    expect(report.calls).toEqual([
      'punchHole',
      'zeroRange',
      'allocate',
      'seekData',
      'seekHole',
      'copyRange',
      'discardDevice',
      'noCopyOnWrite',
      'locks',
      'aio',
    ])
  } else if (report.missing !== undefined) {
    expect(report.calls).toEqual([])
    expect(systemCalls.punchHole).toBeUndefined()
  }
})

describe.runIf(has && isLinux).each(['here', 'pool'] as const)('on a file, %s', (where) => {
  it('finds data and holes', async () => {
    const fd = fileOf(' xx x  ')
    expect(await mapOf(fd, where)).toEqual([
      [1, 3],
      [4, 5],
    ])
    expect(await here.seekData!(fd, 6 * BLOCK, where)).toBeUndefined()
    expect(await here.seekData!(fd, 70 * BLOCK, where)).toBeUndefined()
    expect(await codeOf(here.seekHole!(fd, 70 * BLOCK, where))).toBe('ENXIO')
    closeSync(fd)
  })

  it('punches holes', async () => {
    const fd = fileOf('xxxx')
    await here.punchHole!(fd, BLOCK, 2 * BLOCK, where)
    expect(await mapOf(fd, where)).toEqual([
      [0, 1],
      [3, 4],
    ])
    await here.punchHole!(fd, 10 * BLOCK, BLOCK, where)
    closeSync(fd)
  })

  it('zeroes and allocates beyond the end, where the file system can', async () => {
    const path = scratch.newFile(new Uint8Array(BLOCK).fill(1))
    const fd = openSync(path, 'r+')
    const zeroed = await codeOf(here.zeroRange!(fd, 0, 4096, where))
    if (zeroed === 'done') {
      expect(readFileSync(path).subarray(0, 4097)).toEqual(
        Buffer.concat([Buffer.alloc(4096), Buffer.from([1])]),
      )
    } else expect(zeroed).toMatch(/^(EOPNOTSUPP|ENOTSUP)$/)
    await here.allocate!(fd, BLOCK, BLOCK, where)
    expect(statSync(path).size).toBe(2 * BLOCK)
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(2 * BLOCK)
    closeSync(fd)
  })

  it('copies between files, and gives 0 at the end', async () => {
    const [from, to] = [fileOf('x x'), fileOf('   ')]
    expect(await here.copyRange!({ fd: from, offset: 2 * BLOCK }, { fd: to, offset: 0 }, BLOCK, where)).toBe(
      BLOCK,
    )
    expect((await mapOf(to, where))[0]).toEqual([0, 1])
    expect(await here.copyRange!({ fd: from, offset: 9 * BLOCK }, { fd: to, offset: 0 }, 10, where)).toBe(0)
    closeSync(from)
    closeSync(to)
  })

  it('names what fails', async () => {
    expect(await codeOf(here.punchHole!(999_999, 0, 1, where))).toBe('EBADF')
    expect(await codeOf(here.seekData!(999_999, 0, where))).toBe('EBADF')
    const fd = openSync(scratch.newFile('abc'), 'r')
    expect(await codeOf(here.punchHole!(fd, 0, 1, where))).toBe('EBADF')
    expect(await codeOf(here.allocate!(fd, 0, 0, where))).toBe('EINVAL')
    closeSync(fd)
  })
})

describe.runIf(has && isLinux)('more than koffi takes', () => {
  it('a thousand calls at once wait for their turn', async () => {
    const fd = fileOf('x')
    const ends = await Promise.all(Array.from({ length: 1000 }, () => here.seekHole!(fd, 0, 'pool')))
    expect(new Set(ends)).toEqual(new Set([BLOCK]))
    closeSync(fd)
  })
})

describe.runIf(here.aio !== undefined && constants.O_DIRECT !== undefined)('asynchronous requests', () => {
  it('read and write, several by one call, and name what fails', async () => {
    const path = scratch.newFile(new Uint8Array(3 * BLOCK).fill(3))
    const flags = constants.O_RDWR | ((await scratch.takesDirect()) ? constants.O_DIRECT : 0)
    const fd = openSync(path, flags)
    const queue = here.aio!.open(4)
    const memory = allocateAligned(4 * BLOCK)
    memory.fill(9)
    const part = (index: number): Uint8Array => memory.subarray(index * BLOCK, (index + 1) * BLOCK)
    queue.prepare(2, 'write', fd, part(2), BLOCK)
    queue.prepare(0, 'read', fd, part(0), 0)
    queue.prepare(3, 'read', fd, part(3), 3 * BLOCK)
    queue.prepare(1, 'read', 999_999, part(1), 0)
    expect(queue.submit([2, 0, 3, 1])).toBe(3)
    const results: [slot: number, result: number][] = []
    while (results.length < 3) {
      await new Promise<void>((resolve) => queue.wait(resolve))
      queue.reap((slot, result) => results.push([slot, result]))
    }
    expect(results.sort(([a], [b]) => a - b)).toEqual([
      [0, BLOCK],
      [2, BLOCK],
      [3, 0],
    ])
    expect([memory[0], memory[BLOCK - 1], memory[BLOCK], readFileSync(path)[BLOCK]]).toEqual([3, 3, 9, 9])
    expect(() => queue.submit([1])).toThrow('EBADF')
    expect(queue.errorOf(-28)).toMatchObject({ code: 'ENOSPC' })
    closeSync(fd)
  })
})

it('no queue is opened, and nothing is left open, where node:fs takes no descriptor of others', () => {
  const called: unknown[] = []
  const FOREIGN = 999_999
  const declare = (name: string): SystemCall => ({
    now: (args) => {
      called.push([name, ...(name === 'close' ? args : [])])
      return name === 'eventfd' ? FOREIGN : 0
    },
    at: () => Promise.reject(new Error('is not called')),
  })
  const numbers = { setup: 1, destroy: 2, submit: 3, getevents: 4 }
  const ffi = { ...({} as ForeignFunctions), address: () => 4096n }
  const aio = aioCalls(numbers, ffi, declare, () => new Error('is not called'))!
  expect(() => aio.open(4)).toThrow('EBADF')
  expect(called).toEqual([['io_setup'], ['eventfd'], ['close', FOREIGN], ['io_destroy']])
})

describe.runIf(here.locks !== undefined)('locks', () => {
  it('belong to the open file: another descriptor of this process sees them, and closing that loses none', () => {
    const path = scratch.newFile('')
    const [one, two] = [openSync(path, 'r'), openSync(path, 'r')]
    const locks = here.locks!
    locks.share(one, 100)
    expect([locks.isTaken(one, 100), locks.isTaken(two, 100), locks.isTaken(two, 101)]).toEqual([
      false,
      true,
      false,
    ])
    locks.share(two, 100)
    closeSync(openSync(path, 'r'))
    expect(locks.isTaken(one, 100)).toBe(true)
    locks.release(two, 100)
    locks.release(two, 100)
    expect(locks.isTaken(one, 100)).toBe(false)
    expect(locks.isTaken(two, 100)).toBe(true)
    closeSync(one)
    expect(locks.isTaken(two, 100)).toBe(false)
    closeSync(two)
    expect(() => locks.share(two, 100)).toThrow('EBADF')
  })
})

describe('without koffi', () => {
  it('has no calls, tries once, and tells callers why', () => {
    let tries = 0
    const { calls, report } = lazySystemCalls(() => {
      tries++
      throw new Error(`Cannot find module 'koffi'\nRequire stack: ...`)
    }, process)
    expect(tries).toBe(0)
    expect(calls.punchHole).toBeUndefined()
    expect(calls.locks).toBeUndefined()
    if (process.platform === 'linux')
      expect([tries, report()]).toEqual([1, { calls: [], missing: `Cannot find module 'koffi'` }])
  })

  it('does not load it on a system of which nothing is known', () => {
    const load = (): never => {
      throw new Error('loaded')
    }
    const { calls, report } = lazySystemCalls(load, { platform: 'win32', arch: 'x64' })
    expect(calls.seekData).toBeUndefined()
    expect(report().missing).toBe('nothing is known of win32 on x64')
  })

  it('lacks the calls that the C library lacks', () => {
    const ffi: ForeignFunctions = {
      version: '0',
      os: { errno: { EAGAIN: 11, EWOULDBLOCK: 11 } },
      errno: () => 11,
      load: () => ({
        func(signature) {
          if (/fallocate|copy_file_range/.test(signature)) throw new Error('no such symbol')
          return () => -1
        },
      }),
    }
    const calls = makeSystemCalls(ffi, { platform: 'linux', arch: 'x64' })
    expect(calls.punchHole ?? calls.zeroRange ?? calls.copyRange).toBeUndefined()
    expect(() => calls.locks?.share(0, 1)).toThrow('EAGAIN')
  })
})

describe('macOS', () => {
  it('punches holes by fcntl and seeks with its own numbers', async () => {
    const asked: unknown[][] = []
    const ffi: ForeignFunctions = {
      version: '0',
      os: { errno: {} },
      errno: () => 0,
      load: () => ({
        func: () =>
          Object.assign((...args: unknown[]) => asked.push(args), {
            async: () => expect.unreachable('functions of variable arguments cannot be pooled'),
          }),
      }),
    }
    const calls = makeSystemCalls(ffi, { platform: 'darwin', arch: 'arm64' })
    await calls.punchHole?.(7, 4096, 8192, 'pool')
    await calls.seekData?.(7, 1)
    await calls.seekHole?.(7, 2)
    expect(asked).toEqual([
      [7, 99, 'void *', new BigInt64Array([0n, 4096n, 8192n])],
      [7, 1, 4],
      [7, 2, 3],
    ])
    expect(calls.locks ?? calls.zeroRange ?? calls.copyRange).toBeUndefined()
  })
})
