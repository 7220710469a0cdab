/** Reading from a web server: the requests, their repetition, and servers that do not cooperate. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { pattern, readBack } from '../testing/contract-kit.ts'
import { readOnlyContract } from '../testing/read-only-contract.ts'
import type { RawOptions } from '../text/options.ts'
import { http } from './http.ts'

/** The next responses, in order; the last one is repeated. */
type Answer = (request: IncomingMessage, response: ServerResponse, from: number, to: number) => void

let server: Server
let content: Uint8Array = new Uint8Array(0)
let etag = '"1"'
let answers: Answer[] = []
const requests: string[] = []
const opened: BlockNode[] = []
/** Each case has its own URL. */
let turn = 0

/** The correct response to a range request. */
const range: Answer = (_, response, from, to) => {
  const end = Math.min(to, content.length - 1)
  if (from >= content.length) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end()
    return
  }
  response.writeHead(206, { 'content-range': `bytes ${from}-${end}/${content.length}`, etag })
  response.end(content.subarray(from, end + 1))
}
const status =
  (code: number): Answer =>
  (_, response) => {
    response.writeHead(code).end()
  }
const noAnswer: Answer = () => undefined
const cutShort: Answer = (_, response, from, to) => {
  response.writeHead(206, {
    'content-range': `bytes ${from}-${to}/${content.length}`,
    'content-length': to - from + 1,
    etag,
  })
  response.write(content.subarray(from, from + 10), () => response.destroy())
}

beforeAll(async () => {
  server = createServer((request, response) => {
    const wanted = request.headers.range ?? ''
    // Late requests of an earlier case's node are dropped.
    if (request.url !== `/disk${turn}`) return void response.destroy()
    requests.push(wanted)
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(wanted) ?? []
    const answer = answers.length > 1 ? answers.shift()! : answers[0]!
    answer(request, response, Number(from), Number(to))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
afterEach(async () => {
  for (const node of opened.splice(0)) await node.crash()
})

const environment: OpenEnvironment = { registry: new DriverRegistry([http]), host: denyHost }

/** Opens the server's file with this content and these responses. */
async function open(
  bytes: Uint8Array,
  script: Answer[] = [range],
  options: RawOptions = {},
): Promise<BlockNode> {
  content = bytes
  etag = '"1"'
  answers = [...script]
  requests.length = 0
  turn++
  const { port } = server.address() as AddressInfo
  const node = await openNode(environment, {
    driver: 'http',
    url: `http://127.0.0.1:${port}/disk${turn}`,
    readOnly: true,
    retryDelay: 0,
    ...options,
  })
  opened.push(node)
  return node
}

readOnlyContract('http', (bytes) => open(bytes))

describe('what is asked for', () => {
  it('is the beginning, which tells the size, and then chunks of 64 KiB', async () => {
    const node = await open(pattern(1_000_000))
    expect(requests).toEqual(['bytes=0-65535'])
    await readBack(node, 10, 100)
    await readBack(node, 300_000, 1)
    await readBack(node, 262_144, 65_536)
    expect(requests).toEqual(['bytes=0-65535', 'bytes=262144-327679'])
  })

  it('doubles for a reader that goes on, up to the read-ahead, and neighbours are one request', async () => {
    const node = await open(pattern(4_000_000), [range], { readahead: '256k' })
    for (let at = 0; at < 800_000; at += 4096) await readBack(node, at, 4096)
    // Reads four chunks ahead, and the next ones when two of them are left.
    expect(requests).toEqual([
      'bytes=0-65535',
      'bytes=65536-262143',
      'bytes=262144-458751',
      'bytes=458752-589823',
      'bytes=589824-720895',
      'bytes=720896-851967',
    ])
  })

  it('is asked for once, however many want it', async () => {
    const node = await open(pattern(1_000_000))
    await Promise.all(Array.from({ length: 20 }, (_, i) => readBack(node, 500_000 + i, 1000)))
    expect(requests.length).toBe(2)
  })

  it('is asked for again when it was forgotten', async () => {
    const node = await open(pattern(1_000_000), [range], { cacheSize: '128k', readahead: 0 })
    for (const at of [200_000, 400_000, 600_000, 200_000]) await readBack(node, at, 1)
    expect(requests.length).toBe(5)
    await readBack(node, 200_000, 1)
    expect(requests.length).toBe(5)
  })
})

describe('opening', () => {
  it.each([
    ['a server without ranges', status(200), 'ENOTSUP', 'does not answer range requests'],
    ['a file that is not there', status(404), 'ENOENT', 'the server answered 404'],
    ['a file that may not be read', status(403), 'EACCES', 'the server answered 403'],
    [
      'a size that is hidden from pages of other origins',
      ((_, response) => response.writeHead(206).end()) as Answer,
      'ENOTSUP',
      'Access-Control-Expose-Headers',
    ],
    [
      'what is compressed on its way',
      ((_, response) =>
        response
          .writeHead(206, { 'content-range': 'bytes 0-9/10', 'content-encoding': 'gzip' })
          .end()) as Answer,
      'ENOTSUP',
      'encodes',
    ],
    [
      'a size beyond 2^53',
      ((_, response) =>
        response.writeHead(206, { 'content-range': 'bytes 0-9/99999999999999999999' }).end()) as Answer,
      'EFBIG',
      '2^53',
    ],
  ])('refuses %s', async (_, answer, code, words) => {
    await expect(open(pattern(10), [answer])).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
    })
  })

  it('for writing is refused, and auto-read-only makes it reading', async () => {
    await expect(open(pattern(10), [range], { readOnly: false })).rejects.toMatchObject({
      code: 'EACCES',
      message: expect.stringContaining('does not support writes'),
    })
    const node = await open(pattern(10), [range], { readOnly: false, autoReadOnly: true })
    expect(node.readOnly).toBe(true)
  })
})

describe('failures', () => {
  it('that may pass are tried again', async () => {
    const script = [range, status(503), cutShort, range]
    const node = await open(pattern(1_000_000), script)
    expect(await readBack(node, 700_000, 10)).toEqual(pattern(1_000_000).slice(700_000, 700_010))
    expect(requests.length).toBe(4)
  })

  it('that stay are told, and the next request is a new attempt', async () => {
    const node = await open(pattern(1_000_000), [range, status(500), status(500), range], { retries: 1 })
    await expect(readBack(node, 700_000, 10)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringContaining('the server answered 500'),
    })
    expect(await readBack(node, 700_000, 10)).toEqual(pattern(1_000_000).slice(700_000, 700_010))
  })

  it('of a file that changed meanwhile are told, and not tried again', async () => {
    const node = await open(pattern(1_000_000))
    etag = '"2"'
    await expect(readBack(node, 700_000, 10)).rejects.toThrow('the file changed on the server')
    expect(requests.length).toBe(2)
    etag = '"1"'
    content = pattern(999_999)
    await expect(readBack(node, 700_000, 10)).rejects.toThrow('the file changed on the server')
  })

  it('of servers that send another range, or more, are told', async () => {
    const other: Answer = (request, response, from, to) => range(request, response, from + 1, to + 1)
    const more: Answer = (_, response, from) => {
      response.writeHead(206, { 'content-range': `bytes ${from}-${from}/${content.length}`, etag })
      response.end(content)
    }
    const node = await open(pattern(1_000_000), [range, other, more])
    await expect(readBack(node, 700_000, 10)).rejects.toThrow('another range')
    await expect(readBack(node, 700_000, 10)).rejects.toThrow('more than asked for')
  })

  it('to answer at all end with a timeout', async () => {
    const node = await open(pattern(1_000_000), [range, noAnswer], { timeout: 1, retries: 0 })
    await expect(readBack(node, 700_000, 10)).rejects.toMatchObject({ code: 'ETIMEDOUT' })
  })

  it('of another address are told', async () => {
    await expect(
      open(pattern(10), [range], { url: 'http://127.0.0.1:1/', retries: 0 }),
    ).rejects.toMatchObject({ code: 'EIO', message: expect.stringContaining(`Could not read 'http://127`) })
  })
})

it('takes its options from a file name, and gives the name back', async () => {
  expect(http.parseFilename?.('https://host/a?b')).toEqual({ url: 'https://host/a?b' })
  const node = await open(pattern(10), [range], { retryDelay: undefined })
  const { port } = server.address() as AddressInfo
  expect(node.filename).toBe(`http://127.0.0.1:${port}/disk${turn}`)
})

it('can be given what makes its requests', async () => {
  const seen: unknown[] = []
  await open(pattern(10), [range], {
    fetch: (url: string, init: RequestInit) => {
      seen.push(url)
      return fetch(url, init)
    },
  })
  expect(seen.length).toBe(1)
})
