/** Real-world servers, correct and faulty, with different ranges and headers. Requests are counted. */
import { afterEach, describe, expect, it } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { expectSame, pattern, readBack } from '../testing/contract-kit.ts'
import { toBytes } from '../testing/nodes.ts'
import type { RawOptions } from '../text/options.ts'
import { http } from './http.ts'

const environment: OpenEnvironment = { registry: new DriverRegistry([http]), host: denyHost }
const CHUNK = 65_536

/** The response to a range; both ends are inclusive, `to` is NaN for a range without an end. */
type Answer = (from: number, to: number, turn: number) => Response | Promise<Response>

const opened: BlockNode[] = []
afterEach(async () => {
  for (const node of opened.splice(0)) await node.crash()
})

/** Opens a disk on a server with these responses. */
async function open(answer: Answer, options: RawOptions = {}) {
  const ranges: string[] = []
  const node = await openNode(environment, {
    driver: 'http',
    url: 'http://host/disk',
    readOnly: true,
    retryDelay: 0,
    readahead: 0,
    fetch: async (_: string, { headers }: { headers: { Range: string } }) => {
      const { Range } = headers
      ranges.push(Range.slice('bytes='.length))
      const [from, to] = ranges.at(-1)!.split('-') as [string, string]
      return answer(Number(from), to === '' ? Number.NaN : Number(to), ranges.length - 1)
    },
    ...options,
  })
  opened.push(node)
  return { node, ranges }
}

const part = (bytes: Uint8Array, range: string, headers: Record<string, string> = {}): Response =>
  new Response(new Uint8Array(bytes), { status: 206, headers: { 'content-range': range, ...headers } })

/** A correct server that sends at most `cap` bytes at a time. */
const serving =
  (
    content: Uint8Array,
    { cap = Number.POSITIVE_INFINITY, size = String(content.length), headers = {} } = {},
  ) =>
  (from: number, to: number): Response => {
    if (from >= content.length)
      return new Response(null, { status: 416, headers: { 'content-range': `bytes */${size}` } })
    const last = Math.min(
      Number.isNaN(to) ? Number.POSITIVE_INFINITY : to,
      content.length - 1,
      from + cap - 1,
    )
    return part(content.subarray(from, last + 1), `bytes ${from}-${last}/${size}`, headers)
  }

describe('an answer that gives less than was asked for', () => {
  it.each([1, 7, 300])('at most %i bytes at a time, is gone on with', async (cap) => {
    const content = pattern(400, cap)
    const { node, ranges } = await open(serving(content, { cap }))
    expectSame(await toBytes(node), content)
    expect(ranges.length).toBe(Math.ceil(400 / cap))
  })

  it('is gone on with where it ended', async () => {
    const content = pattern(200_000)
    const { node, ranges } = await open(serving(content, { cap: 50_000 }))
    expectSame(await readBack(node, 131_000, 200), content.slice(131_000, 131_200))
    expect(ranges).toEqual(['0-65535', '50000-65535', '65536-196607', '115536-196607', '165536-196607'])
  })

  it('and nothing at all, is a failure', async () => {
    const nothing: Answer = () => part(new Uint8Array(0), 'bytes 0-65535/100000')
    await expect(open(nothing, { retries: 2 })).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringContaining('after 0 of 65536 bytes'),
    })
  })

  it('because it broke off, is gone on with, and counts as a failure only if it brought nothing', async () => {
    const content = pattern(100_000)
    const whole = serving(content)
    let brought = 10_000
    const broken: Answer = (from, to) => {
      const last = Math.min(to, content.length - 1)
      return part(content.subarray(from, Math.min(from + brought, last + 1)), `bytes ${from}-${last}/100000`)
    }
    const { node, ranges } = await open((from, to, turn) => (turn === 0 ? whole : broken)(from, to, turn), {
      retries: 1,
    })
    expectSame(await readBack(node, 70_000, 10), content.slice(70_000, 70_010))
    expect(ranges.slice(1)).toEqual(['65536-99999', '75536-99999', '85536-99999', '95536-99999'])
    brought = 10
    const few = await open((from, to, turn) => (turn === 0 ? whole : broken)(from, to, turn), { retries: 3 })
    await expect(readBack(few.node, 70_000, 10)).rejects.toThrow('the connection ended early')
    expect(few.ranges.length).toBe(1 + 4)
  })
})

it('is no failure where all came before the connection broke', async () => {
  const content = pattern(100_000)
  const broken: Answer = (from, to) => {
    let isGiven = false
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (isGiven) return controller.error(new Error('reset'))
        isGiven = true
        controller.enqueue(content.slice(from, to + 1))
      },
    })
    const headers = { 'content-range': `bytes ${from}-${Math.min(to, 99_999)}/100000` }
    return new Response(body, { status: 206, headers })
  }
  const { node, ranges } = await open(broken, { retries: 0 })
  expectSame(await toBytes(node), content)
  expect(ranges.length).toBe(2)
})

describe('an answer that gives more', () => {
  it('than was asked for, as it says, is read as far as it is wanted', async () => {
    const content = pattern(64 * CHUNK)
    let given = 0
    const toTheEnd: Answer = (from) => {
      let at = from
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at >= content.length) return controller.close()
          controller.enqueue(content.slice(at, at + 10_000))
          at += 10_000
          given += 10_000
        },
      })
      const headers = { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }
      return new Response(body, { status: 206, headers })
    }
    const { node } = await open(toTheEnd)
    expectSame(await readBack(node, 1_000_000, 100), content.slice(1_000_000, 1_000_100))
    expect(given).toBeLessThan(2 * CHUNK + 50_000)
  })

  it('than it says, is refused', async () => {
    const { node } = await open((from, to, turn) =>
      turn === 0
        ? serving(pattern(100_000))(from, to)
        : part(new Uint8Array(40_000), `bytes ${from}-${from + 9}/100000`),
    )
    await expect(readBack(node, 70_000, 10)).rejects.toThrow('more than it says (10 bytes)')
  })
})

describe('Content-Range', () => {
  it.each([
    'bytes 0-999/1000',
    'Bytes 0-999/1000',
    'BYTES 0-999/1000',
    '  bytes   0 - 999 / 1000  ',
    'bytes=0-999/1000',
    'bytes: 0-999/1000',
    'bytes 0-65535/1000',
  ])('may be spelled %j', async (text) => {
    const { node } = await open(() => part(pattern(1000), text))
    expectSame(await toBytes(node), pattern(1000))
  })

  it.each([
    ['bytes 0-9', 'EIO', 'makes no sense'],
    ['lines 0-9/10', 'EIO', 'makes no sense'],
    ['bytes 9-0/10', 'EIO', 'makes no sense'],
    ['bytes -5-9/10', 'EIO', 'makes no sense'],
    ['bytes 0-9/-10', 'EIO', 'makes no sense'],
    ['bytes 0-9/0x10', 'EIO', 'makes no sense'],
    ['bytes 0-9/10, bytes 20-29/30', 'EIO', 'makes no sense'],
    ['bytes */10', 'EIO', 'makes no sense'],
    ['bytes 10-19/10', 'EIO', 'makes no sense'],
    ['bytes 0-99999999999999999999/*', 'EIO', 'makes no sense'],
    ['bytes 5-9/10', 'EIO', 'another range'],
    ['bytes 0-9/9007199254740993', 'EFBIG', '2^53'],
  ])('that says %j is refused, once', async (text, code, words) => {
    let count = 0
    const answer: Answer = () => {
      count++
      return part(pattern(10), text)
    }
    await expect(open(answer)).rejects.toMatchObject({ code, message: expect.stringContaining(words) })
    expect(count).toBe(1)
  })

  it.each([
    ['multipart/byteranges; boundary=x', {}, 'several parts'],
    ['text/plain', { 'content-encoding': 'GZip' }, 'encodes what it sends'],
  ])('beside %s, %j, is refused', async (type, more, words) => {
    const answer: Answer = () => part(pattern(10), 'bytes 0-9/10', { 'content-type': type, ...more })
    await expect(open(answer)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining(words),
    })
  })

  it('is not looked for in an answer that is hidden from the page', async () => {
    const opaque = { type: 'opaque', status: 0, headers: new Headers(), body: null } as unknown as Response
    await expect(open(() => opaque)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('Access-Control-Allow-Origin'),
    })
  })

  it('is missing from an answer that is the whole file, which is not read', async () => {
    let given = 0
    const whole: Answer = () =>
      new Response(
        new ReadableStream<Uint8Array>({
          pull(controller) {
            given++
            controller.enqueue(new Uint8Array(1e6))
          },
        }),
      )
    await expect(open(whole)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('does not answer range requests'),
    })
    expect(given).toBeLessThan(5)
  })
})

describe('a size that is not told', () => {
  const SIZES = [1, 10, CHUNK - 1, CHUNK, CHUNK + 1, 300_001]

  it.each(SIZES)('is found where answers go to the end, of %i bytes', async (size) => {
    const content = pattern(size)
    const { node } = await open(serving(content, { size: '*' }))
    expect(node.size).toBe(size)
    expectSame(await toBytes(node), content)
  })

  it.each(SIZES)('is found where answers are short, of %i bytes', async (size) => {
    const content = pattern(size)
    const { node, ranges } = await open(serving(content, { size: '*', cap: 1000 }))
    expect(node.size).toBe(size)
    expect(ranges.length).toBeLessThan(130)
    expectSame(await readBack(node, size - 1, 1), content.slice(-1))
  })

  it('is found where the server answers an empty part, or all, beyond the end', async () => {
    const content = pattern(100_000)
    const empty: Answer = (from, to) => {
      const last = Math.min(Number.isNaN(to) ? content.length : to, content.length - 1)
      return part(content.subarray(from, last + 1), `bytes ${from}-${last}/*`)
    }
    expectSame(await toBytes((await open(empty)).node), content)
  })

  it('may be told later, and not be told again', async () => {
    const content = pattern(200_000)
    const { node } = await open((from, to, turn) =>
      serving(content, { size: turn % 2 === 1 ? '200000' : '*' })(from, to),
    )
    expectSame(await toBytes(node), content)
  })

  it('is too large where every offset is in the file', async () => {
    const endless: Answer = (from, to) => {
      const last = to || from
      return part(new Uint8Array(last - from + 1), `bytes ${from}-${last}/*`)
    }
    await expect(open(endless)).rejects.toMatchObject({ code: 'EFBIG' })
  })
})

describe('whether it is the same file', () => {
  const content = pattern(20 * CHUNK)
  type Headers = Record<string, string>
  /** Reads all of a disk whose responses have these headers. */
  const reading = async (headersOf: (turn: number) => Headers, options: RawOptions = {}) => {
    const { node, ranges } = await open(
      (from, to, turn) => serving(content, { headers: headersOf(turn) })(from, to),
      options,
    )
    // Chunk by chunk, so that each is a request.
    for (let at = 0; at < content.length; at += CHUNK)
      expectSame(await readBack(node, at, CHUNK), content.slice(at, at + CHUNK))
    return ranges.length
  }
  const MONDAY = 'Mon, 01 Jan 2024 00:00:00 GMT'
  const TUESDAY = 'Tue, 02 Jan 2024 00:00:00 GMT'

  it.each<[string, (turn: number) => Headers]>([
    ['nothing is said', () => ({})],
    ['a tag is weak or strong by turns', (turn) => ({ etag: turn % 2 ? 'W/"x"' : '"x"' })],
    ['a tag is missing now and then', (turn): Headers => (turn % 2 ? {} : { etag: '"x"' })],
    ['a tag comes late', (turn): Headers => (turn < 5 ? {} : { etag: '"x"' })],
    ['a date is missing now and then', (turn): Headers => (turn % 3 ? {} : { 'last-modified': MONDAY })],
    [
      'dates differ, and the tag does not',
      (turn) => ({ etag: '"x"', 'last-modified': turn % 2 ? MONDAY : TUESDAY }),
    ],
    ['weak tags differ, and the date does not', (turn) => ({ etag: `W/"${turn}"`, 'last-modified': MONDAY })],
  ])('it is where %s', async (_, headersOf) => {
    expect(await reading(headersOf)).toBe(20)
  })

  it.each<[string, (turn: number) => Headers]>([
    ['weak tags', (turn) => ({ etag: `W/"${turn % 2}"` })],
    ['dates', (turn) => ({ 'last-modified': turn % 2 ? MONDAY : TUESDAY })],
    [
      'three dates',
      (turn) => ({ 'last-modified': [MONDAY, TUESDAY, 'Wed, 03 Jan 2024 00:00:00 GMT'][turn % 3]! }),
    ],
  ])('it is where %s come and go, as those of mirrors do; this is looked at once', async (_, headersOf) => {
    expect(await reading(headersOf)).toBeLessThan(20 + 4)
  })

  it.each<[string, (turn: number) => Headers, number, string]>([
    ['a tag', (turn) => ({ etag: turn < 10 ? '"a"' : '"b"' }), 0, 'its ETag was "a", and is "b"'],
    ['a tag that came late', (turn) => ({ ...(turn > 2 && { etag: turn < 10 ? '"a"' : '"b"' }) }), 0, '"b"'],
    ['a weak tag', (turn) => ({ etag: turn < 10 ? 'W/"a"' : 'W/"b"' }), 8, 'its ETag was W/"a"'],
    ['a date', (turn) => ({ 'last-modified': turn < 10 ? MONDAY : TUESDAY }), 8, `last modified ${MONDAY}`],
  ])('it is not where %s changes for good', async (_, headersOf, looks, words) => {
    let count = 0
    const counted = (turn: number): Headers => {
      count = turn + 1
      return headersOf(turn)
    }
    await expect(reading(counted)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/the file changed on the server/),
    })
    await expect(reading(headersOf)).rejects.toThrow(words)
    expect(count).toBe(11 + looks)
    expect(await reading(headersOf, { 'ignore-validators': true })).toBe(20)
  })

  it('it is not where its size changes, whatever is ignored', async () => {
    for (const later of ['bytes 65536-131071/999999', 'bytes */999999']) {
      const answer: Answer = (from, to, turn) => {
        if (turn === 0) return serving(content)(from, to)
        const status = later.includes('*') ? 416 : 206
        return new Response(new Uint8Array(CHUNK), { status, headers: { 'content-range': later } })
      }
      const { node, ranges } = await open(answer, { 'ignore-validators': true })
      await expect(readBack(node, CHUNK, 1)).rejects.toThrow(
        `the file changed on the server: it had ${content.length} bytes, and has 999999`,
      )
      expect(ranges.length).toBe(2)
    }
  })
})

describe('an answer that refuses', () => {
  const count = async (status: number): Promise<{ requests: number; code: string }> => {
    let requests = 0
    const answer: Answer = () => {
      requests++
      return new Response(null, { status })
    }
    const code = await open(answer, { retries: 2 }).then(
      () => 'opened',
      (error: { code: string }) => error.code,
    )
    return { requests, code }
  }

  it.each([
    [400, 'EIO'],
    [401, 'EACCES'],
    [403, 'EACCES'],
    [404, 'ENOENT'],
    [405, 'EIO'],
    [407, 'EACCES'],
    [410, 'ENOENT'],
    [416, 'EIO'],
    [418, 'EIO'],
    [451, 'EIO'],
    [204, 'EIO'],
    [304, 'EIO'],
  ])('with %i is %s, and not asked again', async (status, code) => {
    expect(await count(status)).toEqual({ requests: 1, code })
  })

  it.each([408, 425, 429, 500, 501, 502, 503, 504, 507, 599])('with %i is asked again', async (status) => {
    expect(await count(status)).toEqual({ requests: 3, code: 'EIO' })
  })
})
