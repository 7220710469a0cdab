/**
 * The example page, built as its users build it, on a web server on the loopback interface: with a BIOS, and
 * a disk that is served by range requests, which are counted.
 * @module
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type GuestFile, guestFile } from './guest-files.ts'

const EXAMPLE = fileURLToPath(new URL('../../../examples/browser/', import.meta.url))
const SETUP = fileURLToPath(new URL('../../../scripts/setup.mjs', import.meta.url))

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
}

const BIOS = new Set<string>(['bios.bin', 'vgabios.bin'] satisfies GuestFile[])

/**
 * Builds the page into a new folder, from the current packages.
 *
 * @returns the folder, and the output of the build
 */
export function buildExample(): { readonly folder: string; readonly output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'vmblock-site-'))
  const vite = join(
    dirname(createRequire(`${EXAMPLE}package.json`).resolve('vite/package.json')),
    'bin/vite.js',
  )
  const setup = spawnSync(process.execPath, [SETUP], { encoding: 'utf8' })
  if (setup.status !== 0) throw new Error(`setup: ${setup.stdout}${setup.stderr}`)
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [vite, 'build', '--outDir', folder, '--emptyOutDir', '--logLevel', 'warn'],
    { cwd: EXAMPLE, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
  )
  if (status !== 0) throw new Error(`vite build: ${stdout}${stderr}`)
  return { folder, output: stdout + stderr }
}

/** The web server of the page. */
export class ExampleSite {
  readonly url: string
  /** Requests for the disk so far, and bytes that were sent. */
  requests = 0
  bytesSent = 0
  readonly #server: Server
  readonly #folder: string
  readonly #disk: Uint8Array | undefined

  private constructor(server: Server, folder: string, disk: Uint8Array | undefined) {
    this.#server = server
    this.#folder = folder
    this.#disk = disk
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    server.on('request', (request, response) => this.#answer(request, response))
  }

  /** @param disk the file served as `disk.qcow2`; without one there is no BIOS either */
  static async open(folder: string, disk?: Uint8Array): Promise<ExampleSite> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new ExampleSite(server, folder, disk)
  }

  /** Stops the server, and removes the page. */
  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = new URL(request.url ?? '/', this.url).pathname.slice(1)
    const path = join(this.#folder, name || 'index.html')
    if (this.#disk && name === 'disk.qcow2') this.#sendRange(this.#disk, request, response)
    // An empty page of this origin.
    else if (name === 'blank') response.setHeader('content-type', 'text/html').end('')
    else if (this.#disk && BIOS.has(name)) response.end(Buffer.from(guestFile(name as GuestFile)))
    else if (!existsSync(path)) response.writeHead(404).end()
    else
      response
        .setHeader('content-type', TYPES[extname(path)] ?? 'application/octet-stream')
        .end(readFileSync(path))
  }

  #sendRange(disk: Uint8Array, request: IncomingMessage, response: ServerResponse): void {
    this.requests++
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    if (from === undefined) {
      response.writeHead(400).end()
      return
    }
    const part = disk.subarray(Number(from), Number(to) + 1)
    this.bytesSent += part.length
    response.writeHead(206, {
      'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${disk.length}`,
      etag: '"disk"',
    })
    response.end(part)
  }
}
