import { describe, expect, it } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import { breakpointsOf, opsOf } from '../graph/node-internals.ts'
import { driverContract } from '../testing/driver-contract.ts'
import { nodeOf, openTestNode, toBytes } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import type { RawOptions } from '../text/options.ts'
import { blkdebug, createBlkdebug } from './blkdebug.ts'
import { memory } from './memory.ts'
import { writeLog, writeLogOf } from './write-log.ts'

const capabilities = { discard: 'undefined', truncate: 'grow-and-shrink', knowsZeroes: true } as const

for (const limits of [
  { align: 4096 },
  {
    align: 512,
    maxTransfer: 65536,
    optWriteZero: 8192,
    maxWriteZero: 65536,
    optDiscard: 4096,
    maxDiscard: 16384,
  },
])
  driverContract(
    `blkdebug with ${JSON.stringify(limits)}`,
    async ({ size, ...config }) => {
      const image = await openTestNode(memory, { options: { size }, config })
      return openTestNode(blkdebug, { children: { image }, config, options: limits })
    },
    { ...capabilities, seeds: [5, 6, 7, 8] },
  )

const over = async (options: RawOptions = {}, driver = blkdebug): Promise<BlockNode> => {
  const image = await openTestNode(memory, { options: { size: 65536 } })
  return openTestNode(driver, { children: { image }, options })
}

const read = (node: BlockNode, offset = 0, bytes = 512): Promise<void> =>
  node.read(offset, new Uint8Array(bytes))

describe('errors injected by blkdebug', () => {
  it('for event none hit from the start', async () => {
    const node = await over({ 'inject-error': [{ event: 'none', errno: 28 }] })
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOSPC', message: 'No space left on device' })
    await expect(node.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(node.writeZeroes(0, 1)).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(node.discard(0, 1)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect((await node.blockStatus(0, 1)).bytes).toBe(1)
    await expect(node.flush()).rejects.toMatchObject({ code: 'ENOSPC' })
  })

  it('are EIO unless told otherwise, also for numbers that have no name here', async () => {
    await expect(read(await over({ injectError: { event: 'none' } }))).rejects.toMatchObject({ code: 'EIO' })
    await expect(read(await over({ injectError: { event: 'none', errno: 4711 } }))).rejects.toMatchObject({
      code: 'EIO',
    })
  })

  it.each([
    ['read', 'EIO', undefined],
    ['write', undefined, 'EIO'],
  ] as const)('only for iotype %s', async (iotype, reading, writing) => {
    const node = await over({ 'inject-error': { 0: { event: 'none', iotype } } })
    const codeOf = (promise: Promise<void>) =>
      promise.then(
        () => undefined,
        (error: { code: string }) => error.code,
      )
    expect(await codeOf(read(node))).toBe(reading)
    expect(await codeOf(node.write(0, Uint8Array.of(1)))).toBe(writing)
  })

  it('can hit block status and flushes alone', async () => {
    const status = await over({ injectError: [{ event: 'none', iotype: 'block-status' }] })
    await read(status)
    await expect(status.blockStatus(0, 512)).rejects.toMatchObject({ code: 'EIO' })
    const flush = await over({ injectError: [{ event: 'none', iotype: 'flush', once: 'on' }] })
    await flush.write(0, Uint8Array.of(1))
    await expect(flush.flush()).rejects.toMatchObject({ code: 'EIO' })
    await flush.flush()
  })

  it('with a sector hit the requests that touch its first byte, and no flush', async () => {
    const node = await over({ injectError: [{ event: 'none', sector: 8 }] })
    await read(node, 0, 4096)
    await expect(read(node, 0, 4097)).rejects.toMatchObject({ code: 'EIO' })
    await expect(read(node, 4096, 1)).rejects.toMatchObject({ code: 'EIO' })
    await read(node, 4097, 511)
    await node.write(0, Uint8Array.of(1))
    await node.flush()
    const any = await over({ injectError: [{ event: 'none', sector: '-1' }] })
    await expect(read(any)).rejects.toMatchObject({ code: 'EIO' })
  })

  it('come once with once, and come back with the next event without', async () => {
    const once = await over({ injectError: [{ event: 'l2_load', once: true }] })
    await read(once)
    await opsOf(once).debugEvent!('l2_load')
    await expect(read(once)).rejects.toMatchObject({ code: 'EIO' })
    await read(once)
    await opsOf(once).debugEvent!('l2_load')
    await read(once)
  })

  it('stay armed over events that arm nothing, and are replaced by those that do', async () => {
    const node = await over({
      injectError: [
        { event: 'l2_load', errno: 28 },
        { event: 'l2_update', errno: 12 },
      ],
    })
    await opsOf(node).debugEvent!('l2_load')
    await opsOf(node).debugEvent!('cluster_alloc')
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOSPC' })
    await opsOf(node).debugEvent!('l2_update')
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOMEM' })
  })

  it('are tried in the order of the rules; errno 0 lets through and ends the search', async () => {
    const node = await over({
      injectError: [
        { event: 'none', errno: 0, once: true, iotype: 'read' },
        { event: 'none', errno: 12, once: true },
        { event: 'none', errno: 28 },
      ],
    })
    await read(node)
    await read(node)
    await expect(node.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: 'ENOMEM' })
    await expect(node.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: 'ENOSPC' })
  })

  it('arrive in a later turn of the event loop, unless immediately', async () => {
    const order = async (immediately: boolean): Promise<string[]> => {
      const node = await over({ injectError: [{ event: 'none', immediately }] })
      const seen: string[] = []
      const failed = read(node).catch(() => seen.push('error'))
      const turn = new Promise<void>((resolve) => setImmediate(resolve)).then(() => seen.push('turn'))
      for (let i = 0; i < 50; i++) await Promise.resolve()
      seen.push('microtasks')
      await Promise.all([failed, turn])
      return seen
    }
    expect((await order(true))[0]).toBe('error')
    expect((await order(false))[0]).toBe('microtasks')
  })
})

describe('states of blkdebug', () => {
  it('begin at 1, and rules act in theirs alone', async () => {
    const node = await over({
      injectError: [
        { event: 'write_aio', state: 2, errno: 28, once: true },
        { event: 'write_aio', state: 1, errno: 12, once: true },
      ],
      setState: [{ event: 'write_aio', state: 1, new_state: 2 }],
    })
    await opsOf(node).debugEvent!('write_aio')
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOMEM' })
    await opsOf(node).debugEvent!('write_aio')
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOSPC' })
  })

  it('change after all rules of an event, and the first rule that fits decides', async () => {
    const node = await over({
      setState: [
        { event: 'cow_read', state: 1, new_state: 2 },
        { event: 'cow_read', state: 2, new_state: 3 },
        { event: 'cow_read', state: 1, new_state: 9 },
      ],
      injectError: [{ event: 'cow_write', state: 3 }],
    })
    await opsOf(node).debugEvent!('cow_read')
    await opsOf(node).debugEvent!('cow_write')
    await read(node)
    await opsOf(node).debugEvent!('cow_read')
    await opsOf(node).debugEvent!('cow_write')
    await expect(read(node)).rejects.toMatchObject({ code: 'EIO' })
  })
})

describe('breakpoints of blkdebug', () => {
  const printing = async (): Promise<[BlockNode, string[]]> => {
    const lines: string[] = []
    return [await over({}, createBlkdebug({ print: (line) => lines.push(line) })), lines]
  }

  it('stop the first request only, until it is resumed', async () => {
    const [node, lines] = await printing()
    const breakpoints = breakpointsOf(node)
    breakpoints!.set('pwritev', 'A')
    const done: string[] = []
    const first = node.write(0, Uint8Array.of(1)).then(() => done.push('first'))
    await breakpoints!.wait('A')
    expect(breakpoints!.isSuspended('A')).toBe(true)
    await node.write(10, Uint8Array.of(2)).then(() => done.push('second'))
    expect(lines).toEqual(["blkdebug: Suspended request 'A'"])
    breakpoints!.resume('A')
    await first
    expect(done).toEqual(['second', 'first'])
    expect(lines).toEqual(["blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"])
    expect(() => breakpoints!.resume('A')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  it('are removed with what they stopped', async () => {
    const [node, lines] = await printing()
    const breakpoints = breakpointsOf(node)
    breakpoints!.set('pwritev', 'A')
    breakpoints!.set('pwritev_done', 'A')
    const write = node.write(0, Uint8Array.of(1))
    await breakpoints!.wait('A')
    breakpoints!.remove('A')
    await write
    expect(lines).toHaveLength(2)
    breakpoints!.set('pwritev', 'A')
    const last = node.write(0, Uint8Array.of(1))
    await breakpoints!.wait('A')
    // As in QEMU 7.2, which fails after resuming the request.
    expect(() => breakpoints!.remove('A')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    await last
    expect(lines.slice(2)).toEqual(["blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"])
    expect(() => breakpoints!.remove('A')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    expect(() => breakpoints!.set('no_such_event', 'A')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  it('of different names stop a request as often', async () => {
    const [node, lines] = await printing()
    const breakpoints = breakpointsOf(node)
    breakpoints!.set('pwritev', 'A')
    breakpoints!.set('pwritev', 'B')
    let done = false
    const write = node.write(0, Uint8Array.of(1)).then(() => (done = true))
    await Promise.all([breakpoints!.wait('A'), breakpoints!.wait('B')])
    expect(lines).toEqual(["blkdebug: Suspended request 'B'", "blkdebug: Suspended request 'A'"])
    breakpoints!.resume('B')
    await Promise.resolve()
    expect(done).toBe(false)
    breakpoints!.resume('A')
    await write
  })

  it('let nothing wait when the node crashes', async () => {
    const [node] = await printing()
    const breakpoints = breakpointsOf(node)
    breakpoints!.set('pwritev', 'A')
    const write = expect(node.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: 'ECANCELED' })
    const never = expect(breakpoints!.wait('B')).rejects.toMatchObject({ code: 'ECANCELED' })
    await breakpoints!.wait('A')
    await node.crash()
    await Promise.all([write, never])
    await expect(breakpoints!.wait('A')).rejects.toMatchObject({ code: 'ECANCELED' })
  })
})

describe('limits of blkdebug', () => {
  it.each([
    [{ align: 3 }, 'align 3'],
    [{ align: 2 ** 31 }, 'align 2147483648'],
    [{ align: 4096, 'max-transfer': 1000 }, 'max-transfer 1000'],
    [{ align: 512, 'opt-write-zero': 3 }, 'opt-write-zero 3'],
    [{ align: 512, 'opt-write-zero': 1024, 'max-write-zero': 512 }, 'max-write-zero 512'],
    [{ align: 512, 'opt-discard': 1000 }, 'opt-discard 1000'],
    [{ 'opt-discard': 1024, 'max-discard': 512 }, 'max-discard 512'],
  ])('refuse %o', async (options, what) => {
    await expect(over(options)).rejects.toMatchObject({
      code: 'EINVAL',
      message: `Cannot meet constraints with ${what}`,
    })
  })

  it('cut requests, and leave small zero writes to the fallback', async () => {
    const file = await openTestNode(memory, { options: { size: 65536 } })
    const image = await openTestNode(writeLog, { children: { file } })
    const node = await openTestNode(blkdebug, {
      children: { image },
      options: { align: 512, maxTransfer: 4096, optWriteZero: 8192, maxWriteZero: 16384, optDiscard: 4096 },
    })
    const shape = () => writeLogOf(image).entries.map(({ kind, offset, bytes }) => [kind, offset, bytes])
    await node.write(512, createRandom(1).bytes(10_000))
    expect(shape()).toEqual([
      ['write', 512, 4096],
      ['write', 4608, 4096],
      ['write', 8704, 2048],
    ])
    writeLogOf(image).clear()
    await node.writeZeroes(7680, 40_960)
    expect(shape()).toEqual([
      ['write', 7680, 512],
      ['write-zeroes', 8192, 16384],
      ['write-zeroes', 24576, 16384],
      ['write', 40960, 4096],
      ['write', 45056, 3584],
    ])
    writeLogOf(image).clear()
    await node.discard(100, 9000)
    expect(shape()).toEqual([
      ['discard', 512, 3584],
      ['discard', 4096, 4096],
      ['discard', 8192, 512],
    ])
    expect((await toBytes(node)).length).toBe(65536)
  })
})

describe('opening blkdebug', () => {
  it('takes file names with and without a config file', () => {
    const parse = blkdebug.parseFilename!
    expect(parse('blkdebug::disk.img')).toEqual({ driver: 'blkdebug', image: { filename: 'disk.img' } })
    expect(parse('blkdebug:rules:nbd://host:1')).toEqual({
      driver: 'blkdebug',
      config: 'rules',
      image: { filename: 'nbd://host:1' },
    })
    expect(() => parse('blkdebug:disk.img')).toThrow('blkdebug requires both config file and image path')
  })

  it('reads config files where there is a reader, and takes the rules of options too', async () => {
    const readConfig = async (name: string) =>
      `# ${name}\n[inject-error]\nevent = "none"\nerrno = "28"\nonce = "on"\n`
    const options = { config: 'rules', injectError: [{ event: 'none', errno: 12 }] }
    const node = await over(options, createBlkdebug({ readConfig }))
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(read(node)).rejects.toMatchObject({ code: 'ENOMEM' })
    await expect(over(options)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining("'rules'"),
    })
  })

  it('hands events to no blkdebug below', async () => {
    const events: string[] = []
    const image = nodeOf({
      size: () => 512,
      read: async () => {},
      debugEvent: (event) => void events.push(event),
    })
    const node = await openTestNode(blkdebug, { children: { image } })
    await opsOf(node).debugEvent!('l2_load')
    expect(events).toEqual([])
  })
})
