/** Time limits of requests, closing a node with requests in flight, and secret parts of URLs. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory } from '../drivers/memory.ts'
import { setPatience } from '../graph/node-internals.ts'
import { openNode } from '../open/open.ts'
import { expectCode, expectSame, pattern, readBack } from '../testing/contract-kit.ts'
import type { RawOptions } from '../text/options.ts'
import { http } from './http.ts'

const environment: OpenEnvironment = { registry: new DriverRegistry([http, memory]), host: denyHost }
const SIZE = 10 * 2 ** 20
const content = pattern(SIZE)
/** Milliseconds. */
const SECOND = 1000

type Answer = (from: number, to: number, signal: AbortSignal) => Response | Promise<Response>

const part = (from: number, to: number, body?: ReadableStream<Uint8Array>): Response =>
  new Response(body ?? content.slice(from, to + 1), {
    status: 206,
    headers: { 'content-range': `bytes ${from}-${to}/${SIZE}` },
  })
const well: Answer = (from, to) => part(from, to)
const silent: Answer = () => new Promise<Response>(() => undefined)
const failing =
  (headers: Record<string, string> = {}): Answer =>
  () =>
    new Response(null, { status: 503, headers })

const opened: BlockNode[] = []
afterEach(async () => {
  for (const node of opened.splice(0)) await node.crash()
})

/** Opens a disk whose first response is good, and all others as given. */
async function open(answer: Answer, options: RawOptions = {}) {
  const requests: { range: string; headers: Record<string, string>; signal: AbortSignal }[] = []
  let inFlight = 0
  const most = { inFlight: 0 }
  const node = await openNode(environment, {
    driver: 'http',
    url: 'http://host/disk',
    readOnly: true,
    readahead: 0,
    fetch: async (
      _: string,
      { headers, signal }: { headers: Record<string, string>; signal: AbortSignal },
    ) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers['Range']!)!
      requests.push({ range: headers['Range']!, headers, signal })
      most.inFlight = Math.max(most.inFlight, ++inFlight)
      try {
        return await (requests.length === 1 ? well : answer)(Number(from), Number(to), signal)
      } finally {
        inFlight--
      }
    },
    ...options,
  })
  opened.push(node)
  return { node, requests, most }
}

/** Tracks the state of a promise. */
function watch(promise: Promise<unknown>): { readonly state: string } {
  const watched = { state: 'waiting' }
  promise.then(
    () => (watched.state = 'done'),
    (error: { code: string }) => (watched.state = error.code),
  )
  return watched
}
const read = (node: BlockNode, offset = 2 ** 20) => watch(node.read(offset, new Uint8Array(10)))

describe('time', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())
  const pass = (milliseconds: number): Promise<unknown> => vi.advanceTimersByTimeAsync(milliseconds)

  it('is no limit for an answer that is slow and steady', async () => {
    const steady: Answer = (from, to) => {
      let at = from
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 0.9 * SECOND))
          controller.enqueue(content.slice(at, Math.min(at + 512, to + 1)))
          at += 512
          if (at > to) controller.close()
        },
      })
      return part(from, to, body)
    }
    const { node, requests } = await open(steady, { timeout: 1, retries: 0 })
    const reading = readBack(node, 2 ** 20, 65_536)
    await pass(130 * SECOND)
    expectSame(await reading, content.subarray(2 ** 20, 2 ** 20 + 65_536))
    expect(requests.length).toBe(2)
  })

  it.each<[string, Answer]>([
    ['before its answer', silent],
    [
      'in the middle of it',
      (from, to) =>
        part(from, to, new ReadableStream({ start: (c) => c.enqueue(content.slice(from, from + 5)) })),
    ],
  ])('ends for a server that falls silent %s, whatever fetch does about it', async (_, answer) => {
    const { node, requests } = await open(answer, { timeout: 5, retries: 1, retryDelay: SECOND })
    const reading = read(node)
    await pass(4.9 * SECOND)
    expect(requests.map(({ signal }) => signal.aborted)).toEqual([false, false])
    await pass(0.2 * SECOND)
    expect(requests[1]!.signal.aborted).toBe(true)
    expect(reading.state).toBe('waiting')
    await pass(SECOND)
    expect(requests.length).toBe(3)
    await pass(5.1 * SECOND)
    expect(reading.state).toBe('ETIMEDOUT')
    expect(vi.getTimerCount()).toBe(0)
  })

  it.each([
    ['7', 7],
    ['100000', 30],
    ['Thu, 01 Jan 1970 00:00:20 GMT', 10],
    ['-5', 0.2],
    ['soon', 0.2],
  ])('is given to a server that asks for it (Retry-After: %s), within bounds', async (after, seconds) => {
    const date = 'Thu, 01 Jan 1970 00:00:10 GMT'
    const { node, requests } = await open(failing({ 'retry-after': after, date }), { retries: 1 })
    const reading = read(node)
    await pass(seconds * SECOND - 50)
    expect(requests.length).toBe(2)
    await pass(100)
    expect(requests.length).toBe(3)
    expect(reading.state).toBe('EIO')
  })

  it('between attempts doubles, up to a minute', async () => {
    const { node, requests } = await open(failing(), { retries: 12, retryDelay: 100 })
    read(node)
    await pass(100 + 200 + 400 + 50)
    expect(requests.length).toBe(2 + 3)
    await pass(11 * 60 * SECOND)
    expect(requests.length).toBe(2 + 12)
  })

  describe('that close() takes', () => {
    it('is that of what is on its way, which ends well', async () => {
      const slow: Answer = async (from, to) => {
        await new Promise((resolve) => setTimeout(resolve, 3 * SECOND))
        return part(from, to)
      }
      const { node, requests } = await open(slow)
      // More requests than connections: those that wait for a connection count as in flight, too.
      const readings = Array.from({ length: 10 }, (_, i) => read(node, (i + 1) * 2 ** 19))
      await pass(10)
      const closing = watch(node.close())
      await pass(6.1 * SECOND)
      expect(readings.map(({ state }) => state)).toEqual(Array.from({ length: 10 }, () => 'done'))
      expect(closing.state).toBe('done')
      expect(requests.length).toBe(11)
      expect(vi.getTimerCount()).toBe(0)
    })

    it.each<[string, Answer]>([
      ['is silent', silent],
      [
        'sends a byte now and then',
        (from, to) =>
          part(
            from,
            to,
            new ReadableStream({
              async pull(controller) {
                await new Promise((resolve) => setTimeout(resolve, SECOND))
                controller.enqueue(new Uint8Array(1))
              },
            }),
          ),
      ],
      [
        'gives a byte at a time',
        async (from) => {
          await new Promise((resolve) => setTimeout(resolve, SECOND))
          return part(from, from)
        },
      ],
    ])('is the time limit at most, where the server %s', async (_, answer) => {
      const { node } = await open(answer, { timeout: 5 })
      const readings = Array.from({ length: 20 }, (_, i) => read(node, (i + 1) * 2 ** 17))
      await pass(3 * SECOND)
      const closing = watch(node.close())
      await pass(4.9 * SECOND)
      await pass(0.2 * SECOND)
      expect(closing.state).toBe('done')
      for (const { state } of readings) expect(['ETIMEDOUT', 'ECANCELED']).toContain(state)
    })

    it('is nothing, where only another attempt is waited for', async () => {
      const { node, requests } = await open(failing(), { retryDelay: 30 * SECOND })
      const reading = read(node)
      await pass(10)
      const closing = watch(node.close())
      await pass(0)
      expect([reading.state, closing.state, requests.length]).toEqual(['EIO', 'done', 2])
      expect(vi.getTimerCount()).toBe(0)
    })

    it('is nothing, where all that is on its way was read ahead', async () => {
      const { node, requests } = await open(
        (from, to, signal) => (from >= 262_144 ? silent : well)(from, to, signal),
        { readahead: '256k' },
      )
      for (const at of [0, 65_536, 131_072]) await readBack(node, at, 1)
      expect(requests.map(({ signal }) => signal.aborted)).toEqual([false, false, false])
      const closing = watch(node.close())
      await pass(0)
      expect([closing.state, requests[2]!.range, requests[2]!.signal.aborted]).toEqual([
        'done',
        'bytes=262144-458751',
        true,
      ])
    })

    it('is the same for the layers above', async () => {
      const { node } = await open(silent, { timeout: 5 })
      setPatience(node, 'limited')
      const reading = read(node)
      setPatience(node, 'usual')
      await pass(4.9 * SECOND)
      expect(reading.state).toBe('waiting')
      setPatience(node, 'none')
      await pass(0)
      expect(reading.state).toBe('ECANCELED')
      // This is not final: a disk that could not be closed can still be read.
      setPatience(node, 'usual')
      const again = read(node)
      await pass(0)
      expect(again.state).toBe('waiting')
    })
  })

  it.each<[string, Answer]>([
    ['a request', silent],
    ['a pause between attempts', failing()],
  ])('is not spent by crash(), with %s on its way', async (_, answer) => {
    const { node, requests } = await open(answer, { retryDelay: 60 * SECOND })
    const readings = Array.from({ length: 20 }, (_, i) => read(node, (i + 1) * 2 ** 17))
    await pass(10)
    await node.crash()
    await pass(0)
    for (const { state } of readings) expect(state).toBe('ECANCELED')
    expect(requests.length).toBeLessThanOrEqual(21)
    expect(vi.getTimerCount()).toBe(0)
  })
})

it('asks for no more than six parts at the same time', async () => {
  const { node, most, requests } = await open(async (from, to) => {
    await new Promise((resolve) => setImmediate(resolve))
    return part(from, to)
  })
  await Promise.all(Array.from({ length: 50 }, (_, i) => readBack(node, (i + 1) * 131_072, 10)))
  expect(requests.length).toBe(51)
  expect(most.inFlight).toBe(6)
})

it('does not try again what was only read ahead', async () => {
  const { node, requests } = await open(
    (from, to, signal) => (from >= 262_144 ? failing() : well)(from, to, signal),
    {
      readahead: '256k',
      retries: 3,
      retryDelay: 0,
    },
  )
  for (const at of [0, 65_536, 131_072]) await readBack(node, at, 1)
  expect(requests.map(({ range }) => range)).toEqual([
    'bytes=0-65535',
    'bytes=65536-262143',
    'bytes=262144-458751',
  ])
  await new Promise((resolve) => setImmediate(resolve))
  await expect(readBack(node, 262_144, 1)).rejects.toThrow('503')
  expect(requests.filter(({ range }) => range.startsWith('bytes=262144-')).length).toBe(1 + 4)
})

it('ends a silent request though garbage is collected meanwhile', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const server = createServer((request, response) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    if (from !== '0') return
    response
      .writeHead(206, { 'content-range': `bytes 0-${to}/${SIZE}` })
      .end(content.subarray(0, Number(to) + 1))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const timer = setInterval(collect, 50)
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const node = await openNode(environment, {
      driver: 'http',
      url,
      readOnly: true,
      timeout: 1,
      retries: 0,
    })
    opened.push(node)
    await expectCode(readBack(node, 2 ** 20, 1), 'ETIMEDOUT')
  } finally {
    clearInterval(timer)
    server.closeAllConnections()
    server.close()
  }
})

describe('what is said', () => {
  const SECRETS = ['bob', 's3cr3t', 'tok-abcdef', 'Ym9i']
  const url = 'http://bob:s3cr3t%21@127.0.0.1:1/disk?sig=tok-abcdef&v=1#part'
  const mute = (text: string): void => {
    for (const secret of SECRETS) expect(text).not.toContain(secret)
  }

  it('is no login: it becomes a header, and the address is asked without it', async () => {
    const { node, requests } = await open(silent, { url, timeout: 1, retries: 0 })
    expect(requests[0]!.headers['Authorization']).toBe(`Basic ${btoa('bob:s3cr3t!')}`)
    expect(node.filename).toContain('"url": "http://127.0.0.1:1/disk?..."')
  })

  it.each<[string, RawOptions]>([
    ['as it is', {}],
    ['with options', { timeout: 7 }],
  ])('in names, %s, is neither login nor query', async (_, options) => {
    const fetch = async () => part(0, 65_535)
    const node = await openNode(environment, { driver: 'http', url, fetch, readOnly: true, ...options })
    opened.push(node)
    expect(node.filename).toContain('127.0.0.1:1/disk?...')
    mute(node.filename)
  })

  it.each<[string, RawOptions]>([
    ['a server that is not there', {}],
    ['an answer', { fetch: async () => new Response(null, { status: 404 }) }],
    ['a login that is refused', { fetch: async () => new Response(null, { status: 401 }) }],
    [
      'a fetch that tells all',
      {
        fetch: async (asked: string) => {
          throw new TypeError(`${asked} s3cr3t! ${url}`, { cause: new Error(url) })
        },
      },
    ],
    ['no URL', { url: 'http://bob:s3cr3t@host:99999/x?sig=tok-abcdef' }],
    ['nor this', { url: 'http://bob:s3/cr3t@ho st/x?sig=tok-abcdef' }],
    ['another scheme', { url: 'ftp://bob:s3cr3t@host/x?sig=tok-abcdef' }],
  ])('of a failure with %s, is neither login nor query', async (_, options) => {
    const error: unknown = await openNode(environment, {
      driver: 'http',
      url,
      readOnly: true,
      retries: 0,
      ...options,
    }).then(
      () => 'opened',
      (failure: unknown) => failure,
    )
    expect(error).toMatchObject({ name: 'BlockError' })
    mute(inspect(error, { depth: 10, showHidden: true }))
  })

  it('is the cause', async () => {
    const open = openNode(environment, {
      driver: 'http',
      url: 'http://127.0.0.1:1/',
      readOnly: true,
      retries: 0,
    })
    await expect(open).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(
        /^Could not read 'http:\/\/127\.0\.0\.1:1\/': fetch failed: .*(ECONNREFUSED|bad port)/,
      ),
    })
  })

  it.each([
    ['relative/path', 'not a valid URL'],
    ['http://', 'not a valid URL'],
    ['file:///etc/passwd', 'http and https, not of file'],
    ['data:,x', 'http and https, not of data'],
  ])('of %j is what is wrong with it', async (wrong, words) => {
    await expect(openNode(environment, { driver: 'http', url: wrong, readOnly: true })).rejects.toMatchObject(
      {
        code: 'EINVAL',
        message: expect.stringContaining(words),
      },
    )
  })

  it.each([
    [Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }), 1],
    [new Error('redirect count exceeded'), 1],
    [Object.assign(new Error('getaddrinfo ENOTFOUND host'), { code: 'ENOTFOUND' }), 3],
    [
      Object.assign(new AggregateError([new Error('connect ECONNREFUSED ::1:80')]), { code: 'ECONNREFUSED' }),
      3,
    ],
  ])('of %s is in the message, and it is asked again only if that may help', async (cause, count) => {
    let requests = 0
    const fetch = async (): Promise<never> => {
      requests++
      throw new TypeError('fetch failed', { cause })
    }
    const options = {
      driver: 'http',
      url: 'http://host/',
      readOnly: true,
      retries: 2,
      retryDelay: 0,
      fetch,
    }
    const words = cause.message || (cause as AggregateError).errors[0].message
    await expect(openNode(environment, options)).rejects.toThrow(words)
    expect(requests).toBe(count)
  })
})
