// Runs what a bundler made in the browser of the tests, and returns what the page says.
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join } from 'node:path'
import { Failure } from '../toolchain.mjs'

/** The browser of the tests. */
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'

/** Whether pages can be tried. */
export const hasBrowser = () => existsSync(CHROMIUM)

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript' }

/** An image on a web server: 64 KiB of sevens, by range requests. */
function sevens(range = '', response) {
  const bytes = new Uint8Array(65536).fill(7)
  const [, from, to] = /bytes=(\d+)-(\d*)/.exec(range) ?? ['', '0', '']
  const part = bytes.subarray(Number(from), to === '' ? undefined : Number(to) + 1)
  response.writeHead(206, {
    'content-type': 'application/octet-stream',
    'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`,
    etag: '"one"',
  })
  response.end(part)
}

/** Visits the `index.html` of a folder. @returns what the promise `globalThis.result` of the page resolves to */
export async function visit(folder) {
  const { chromium } = await import('playwright')
  const server = createServer(({ url, headers }, response) => {
    if (url === '/sevens') return void sevens(headers.range, response)
    const path = join(folder, url === '/' ? 'index.html' : new URL(url, 'http://page').pathname)
    if (!existsSync(path)) return void response.writeHead(404).end()
    response.setHeader('content-type', TYPES[extname(path)] ?? 'application/octet-stream')
    response.end(readFileSync(path))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
  })
  try {
    const page = await browser.newPage()
    const errors = []
    page.on('pageerror', (error) => errors.push(error.message))
    await page.goto(`http://127.0.0.1:${server.address().port}/`)
    await page
      .waitForFunction(() => 'result' in globalThis, undefined, { timeout: 20_000 })
      .catch(() => {
        throw new Failure(`the page has no result: ${errors.join('; ')}`)
      })
    return await page.evaluate(() => globalThis.result)
  } finally {
    await browser.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}
