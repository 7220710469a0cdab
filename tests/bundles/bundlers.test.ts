/**
 * A page with a disk in the origin private file system, built of the published packages by each bundler, in a
 * browser.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CHROMIUM, CHROMIUM_ARGUMENTS, haveChromium } from '../support/chromium.ts'
import { BUNDLERS, copyWorker, withoutWorker } from './src/bundlers.ts'

const isBuilt = existsSync(new URL('../../packages/v86/dist/opfs-worker.js', import.meta.url))

/** How the server answers, besides the files. */
interface Answers {
  readonly type?: string
  readonly policy?: string
}

describe.skipIf(!isBuilt || !haveChromium())('a page with a disk', () => {
  let root: string
  let server: Server
  let browser: Browser
  let answers: Answers = {}
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'vmblock-bundles-'))
    server = createServer((request, response) => {
      const path = join(root, new URL(request.url!, 'http://x').pathname)
      if (path.endsWith('/')) {
        if (answers.policy) response.setHeader('content-security-policy', answers.policy)
        response
          .setHeader('content-type', 'text/html')
          .end('<!doctype html><script type="module" src="main.js"></script>')
      } else if (existsSync(path))
        response.setHeader('content-type', 'text/javascript').end(readFileSync(path))
      else if (answers.type) response.setHeader('content-type', answers.type).end('<!doctype html>')
      else response.writeHead(404).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    browser = await chromium.launch({ executablePath: CHROMIUM, args: [...CHROMIUM_ARGUMENTS] })
  })
  afterAll(async () => {
    await browser?.close()
    server?.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    rmSync(root, { recursive: true, force: true })
  })

  /** Returns what the page of a folder reports; `more` is added to the source of its disk. */
  async function visit(folder: string, more?: object, given: Answers = {}): Promise<unknown> {
    answers = given
    const context = await browser.newContext()
    try {
      const page = await context.newPage()
      if (more) await page.addInitScript((value) => Object.assign(globalThis, { more: value }), more)
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${folder}/`)
      await page.waitForFunction(() => 'result' in globalThis)
      return await page.evaluate(() => (globalThis as unknown as { result: Promise<string> }).result)
    } finally {
      await context.close()
    }
  }

  it.each(Object.entries(BUNDLERS))('is made by %s, worker and all', async (name, build) => {
    await build(join(root, name))
    expect(await visit(name)).toBe('read 7')
  })

  it('takes the address of the script of its worker, which needs no bundler', async () => {
    await withoutWorker(join(root, 'plain'))
    copyWorker(join(root, 'plain'), 'somewhere.js')
    expect(await visit('plain', { worker: 'somewhere.js' })).toBe('read 7')
  })

  it('says what to do where the worker is missing, is something else, or is forbidden', async () => {
    await withoutWorker(join(root, 'bare'))
    const said = [
      await visit('bare'),
      await visit('bare', undefined, { type: 'text/html' }),
      await visit('bare', { worker: 'main.js' }, { policy: "worker-src 'none'" }),
    ]
    expect(said[0]).toMatch(/bare\/opfs-worker\.js answers with status 404/)
    expect(said[1]).toMatch(/bare\/opfs-worker\.js is served as text\/html, not as JavaScript/)
    expect(said[2]).toMatch(/policy|Policy/)
    for (const text of said) expect(text).toContain("give the option 'worker'")
  })
})
