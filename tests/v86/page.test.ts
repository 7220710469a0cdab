/**
 * The messages of the page of examples/browser, with the guest that it contains: what is saved, how the
 * previous page ended, another tab, a quota, an export that disappears.
 */
import { readFileSync } from 'node:fs'
import type { Page } from 'playwright'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { haveChromium } from '../support/chromium.ts'
import { Browser } from './src/browser-guest.ts'
import { buildExample, ExampleSite } from './src/example-site.ts'

/** Milliseconds: an emulated machine on a busy host. */
const PATIENCE = 600_000

interface PageGlobals {
  readonly emulator: { serial0_send(text: string): void; is_running(): boolean }
  readonly disk: {
    readonly isDirty: boolean
    write(sector: number, from: Uint8Array): Promise<void>
    flush(): Promise<void>
  }
}

describe.skipIf(!haveChromium())('the example page', () => {
  let site: ExampleSite
  let browser: Browser
  let page: Page
  beforeAll(async () => {
    site = await ExampleSite.open(buildExample().folder)
    browser = await Browser.open()
  }, PATIENCE)
  afterAll(async () => {
    await browser?.close()
    await site?.close()
  }, PATIENCE)

  const running = (): Promise<unknown> =>
    page.waitForFunction(
      () => (globalThis as unknown as Partial<PageGlobals>).emulator?.is_running() === true,
    )
  const shown = (words: string): Promise<unknown> =>
    page.waitForFunction((wanted) => {
      const { document } = globalThis as unknown as {
        document: { getElementById(id: string): { readonly value: string } }
      }
      return document.getElementById('console').value.includes(wanted)
    }, words)
  async function visit(): Promise<void> {
    page = await browser.context.newPage()
    await page.goto(site.url)
    await running()
  }
  const type = (line: string): Promise<void> =>
    page.evaluate((keys) => (globalThis as unknown as PageGlobals).emulator.serial0_send(keys), `${line}\r`)
  const saved = (): Promise<unknown> =>
    page.waitForFunction(() => !(globalThis as unknown as PageGlobals).disk.isDirty)
  const said = (): Promise<string | null> => page.locator('#said').textContent()

  test('keeps what is typed over a reload, and makes no fuss of that', { timeout: PATIENCE }, async () => {
    await visit()
    expect(await said()).toBe('The disk is open.')
    await type('hello')
    await shown('hello')
    await saved()
    expect(await page.locator('#saved').textContent()).toBe('all saved')
    expect(await page.locator('#stored').textContent()).toMatch(/^\d+\.\d MiB of at most \d+\.\d MiB/)
    await page.reload()
    await running()
    await shown('hello')
    expect(await said()).toBe('The disk is open.')
  })

  test('says that the disk is open in another tab', { timeout: PATIENCE }, async () => {
    const second = await browser.context.newPage()
    await second.goto(site.url)
    await second.getByText('open in another tab').waitFor()
    await second.close()
  })

  test('takes exports away', { timeout: PATIENCE }, async () => {
    // Advancing a fake clock would run the machine for as long.
    await page.evaluate(() => {
      const late: (() => void)[] = []
      const { setTimeout } = globalThis as unknown as { setTimeout(run: () => void, after?: number): unknown }
      const wait = (run: () => void, after = 0): unknown =>
        after > 30_000 ? late.push(run) : setTimeout(run, after)
      Object.assign(globalThis, { late, setTimeout: wait })
    })
    const download = page.waitForEvent('download')
    await page.click('button[value="raw"]')
    const path = await (await download).path()
    expect(readFileSync(path).subarray(0, 6).toString('latin1')).toBe('hello\n')
    const copies = (): Promise<number> =>
      page.evaluate(async () => {
        const root = await navigator.storage.getDirectory()
        const folder = await root.getDirectoryHandle('.vmblock-exports')
        let count = 0
        for await (const _ of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) count++
        return count
      })
    expect(await copies()).toBe(1)
    await page.evaluate(() => {
      for (const run of (globalThis as unknown as { late: (() => void)[] }).late) run()
    })
    await expect.poll(copies).toBe(0)
  })

  test('says that a page before it was killed, once', { timeout: PATIENCE }, async () => {
    // Into a cluster that the image does not have yet, so that the image is marked dirty.
    await page.evaluate(async () => {
      const { disk } = globalThis as unknown as PageGlobals
      await disk.write(16384, new Uint8Array(512).fill(1))
      await disk.flush()
    })
    const session = await browser.context.newCDPSession(page)
    const crashed = new Promise((resolve) => page.once('crash', resolve))
    session.send('Page.crash').catch(() => undefined)
    await crashed
    await visit()
    await shown('hello')
    expect(await said()).toContain('The disk was repaired')
    await page.reload()
    await running()
    expect(await said()).toBe('The disk is open.')
  })

  test('says what to do when there is no room, and goes on', { timeout: PATIENCE }, async () => {
    const session = await browser.context.newCDPSession(page)
    const quota = (size?: number): Promise<unknown> =>
      session.send('Storage.overrideQuotaForOrigin', {
        origin: new URL(site.url).origin,
        ...(size !== undefined && { quotaSize: size }),
      })
    await quota(1)
    await page.evaluate(() => {
      const { disk } = globalThis as unknown as PageGlobals
      // More than an image allocates ahead. Not awaited, because held writes do not end before the resume.
      for (let at = 2048; at <= 40 * 2048; at += 2048)
        void disk.write(at, new Uint8Array(2 ** 20).fill(1)).catch(() => undefined)
      void disk.flush().catch(() => undefined)
    })
    await page.getByText('no more room').waitFor()
    await quota()
    await page.click('#resume')
    await saved()
    expect(await said()).toBe('The machine goes on.')
  })
})
