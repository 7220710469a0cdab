/** A web server of disks for tests in browsers: a body that was put by POST is served by range requests. */
import type { IncomingMessage } from 'node:http'
import type { Plugin } from 'vitest/config'

/** Its path, below the server of the tests. */
export const DISKS = '/disks/'

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

/** The disk server, as a plugin of the server that serves the tests themselves. */
export function diskServer(): Plugin {
  const disks = new Map<string, Buffer>()
  return {
    name: 'disk-server',
    configureServer(server) {
      server.middlewares.use(DISKS, async (request, response) => {
        const name = request.url ?? ''
        if (request.method === 'POST') {
          disks.set(name, await bodyOf(request))
          response.writeHead(204).end()
          return
        }
        const disk = disks.get(name)
        const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
        if (!disk || from === undefined) return void response.writeHead(disk ? 400 : 404).end()
        if (Number(from) >= disk.length)
          return void response.writeHead(416, { 'content-range': `bytes */${disk.length}` }).end()
        const part = disk.subarray(Number(from), Number(to) + 1)
        response.writeHead(206, {
          'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${disk.length}`,
          etag: '"disk"',
        })
        response.end(part)
      })
    },
  }
}
