/**
 * The example page in a browser, and its Linux, controlled over the serial line.
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright'
import { CHROMIUM, CHROMIUM_ARGUMENTS } from '../../support/chromium.ts'

/** A browser with a profile of its own on the disk, where the storage of pages outlives them. */
export class Browser {
  readonly context: BrowserContext
  readonly #profile: string

  private constructor(context: BrowserContext, profile: string) {
    this.context = context
    this.#profile = profile
  }

  static async open(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'vmblock-profile-'))
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM,
      args: [...CHROMIUM_ARGUMENTS],
      headless: true,
      acceptDownloads: true,
    })
    context.setDefaultTimeout(0)
    return new Browser(context, profile)
  }

  async close(): Promise<void> {
    await this.context.close()
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 3 })
  }

  /** Runs a function in a page of that origin which has nothing open. */
  async onBlankPage<T>(site: string, run: () => Promise<T>): Promise<T> {
    const page = await this.context.newPage()
    try {
      await page.goto(`${site}blank`)
      return await page.evaluate(run)
    } finally {
      await page.close()
    }
  }
}

/** The globals that the page sets for the developer tools and tests use. */
interface PageGlobals {
  readonly emulator: {
    add_listener(event: string, listener: (value: number) => void): void
    serial0_send(text: string): void
    stop(): Promise<void>
    run(): Promise<void>
    save_state(): Promise<ArrayBuffer>
    restore_state(state: ArrayBuffer): Promise<void>
    is_running(): boolean
  }
  readonly disk: {
    readonly byteLength: number
    readonly statistics: { readonly bytesWritten: number; readonly bytesPending: number }
    set(start: number, data: Uint8Array, fn: () => void): void
    drain(): Promise<void>
    on(event: string, listener: () => void): void
  }
  readonly heard: (line: string) => void
}

/** A machine in a page. */
export class BrowserGuest {
  readonly page: Page
  /** Whole lines received over the serial line. */
  readonly lines: string[] = []
  /** Called for each of them. */
  onLine: ((line: string) => void) | undefined
  #waiting: { readonly test: RegExp; resolve(line: string): void }[] = []

  private constructor(page: Page) {
    this.page = page
  }

  /** Opens the page; resolves once the machine runs. */
  static async open({ context }: Browser, site: string): Promise<BrowserGuest> {
    const guest = new BrowserGuest(await context.newPage())
    await guest.page.exposeFunction('heard', (line: string) => guest.#hear(line))
    await guest.page.goto(site)
    await guest.#listen()
    return guest
  }

  /** Reloads the page, as its user would. */
  async reload(): Promise<void> {
    await this.page.reload()
    await this.#listen()
  }

  /** Resolves once the guest has booted. */
  async booted(): Promise<void> {
    if (!this.lines.some((line) => line.startsWith('@@ready'))) await this.line(/^@@ready/)
  }

  /** Saves the current state of the machine in the browser. */
  async saveState(): Promise<void> {
    await this.page.evaluate(async () => {
      const { emulator, disk } = globalThis as unknown as PageGlobals
      await emulator.stop()
      await disk.drain()
      const state = await emulator.save_state()
      await (await caches.open('guest')).put('state', new Response(state))
      await emulator.run()
    })
  }

  /** Restores the saved state of the machine. */
  async restoreState(): Promise<void> {
    await this.page.evaluate(async () => {
      const { emulator } = globalThis as unknown as PageGlobals
      await emulator.stop()
      const state = (await (await caches.open('guest')).match('state'))!
      await emulator.restore_state(await state.arrayBuffer())
      await emulator.run()
    })
  }

  /** Runs a command that has to succeed. @returns its output */
  async run(command: string): Promise<string> {
    const from = this.lines.length
    const end = this.line(/^@@\d+/)
    await this.send(command)
    const code = await end
    const output = this.lines.slice(from, this.lines.lastIndexOf(code)).join('\n')
    if (!code.startsWith('@@0')) throw new Error(`guest: ${command}: exit code ${code}\n${output}`)
    return output
  }

  /** Sends a command, and does not wait for it. */
  async send(command: string): Promise<void> {
    await this.page.evaluate(
      (text) => (globalThis as unknown as PageGlobals).emulator.serial0_send(text),
      `${command}\n`,
    )
  }

  /** Resolves to the next line that matches. */
  line(test: RegExp): Promise<string> {
    return new Promise((resolve) => this.#waiting.push({ test, resolve }))
  }

  /** Resolves once the guest has written that many bytes more. */
  async written(bytes: number): Promise<void> {
    await this.page.evaluate(async (more) => {
      const { disk } = globalThis as unknown as PageGlobals
      const enough = disk.statistics.bytesWritten + more
      await new Promise<void>((resolve) =>
        disk.on('progress', () => {
          if (disk.statistics.bytesWritten >= enough) resolve()
        }),
      )
    }, bytes)
  }

  /** Stops the machine for good; from then on tests may write to the disk. */
  async stop(): Promise<void> {
    await this.page.evaluate(() => (globalThis as unknown as PageGlobals).emulator.stop())
  }

  /**
   * Writes to the disk as v86 does, from its start over and over, each command after the last one has ended.
   *
   * @returns the largest number of bytes that were on their way
   */
  writeOver(bytes: number): Promise<number> {
    return this.page.evaluate(async (total) => {
      const { disk } = globalThis as unknown as PageGlobals
      const data = new Uint8Array(2 ** 20).map((_, index) => 1 + (index % 251))
      let most = 0
      for (let done = 0, sectors = 1; done < total; sectors = 1 + ((sectors * 7) % 2048)) {
        const at = done % disk.byteLength
        const length = Math.min(sectors * 512, disk.byteLength - at)
        const write = new Promise<void>((resolve) => disk.set(at, data.subarray(0, length), resolve))
        most = Math.max(most, disk.statistics.bytesPending)
        await write
        done += length
      }
      return most
    }, bytes)
  }

  /** Bytes that the page's thread holds in its heap and in buffers, garbage excluded. */
  async held(): Promise<number> {
    const session = await this.page.context().newCDPSession(this.page)
    await session.send('HeapProfiler.collectGarbage')
    const usage = (await session.send('Runtime.getHeapUsage')) as unknown as Record<string, number>
    await session.detach()
    return usage['usedSize']! + usage['backingStorageSize']!
  }

  /** Kills the page's process in the middle of its work. */
  async kill(): Promise<void> {
    const session = await this.page.context().newCDPSession(this.page)
    const crashed = new Promise((resolve) => this.page.once('crash', resolve))
    // The page does not live to answer.
    session.send('Page.crash').catch(() => undefined)
    await crashed
  }

  /** Clicks a button of the page that exports, and saves the download. */
  async download(format: string, path: string): Promise<void> {
    const download = this.page.waitForEvent('download')
    await this.page.click(`button[value="${format}"]`)
    await (await download).saveAs(path)
  }

  /** Returns the message that the page shows. */
  async said(): Promise<string> {
    return (await this.page.textContent('output')) ?? ''
  }

  /** Passes on the lines that arrive over the serial line. */
  async #listen(): Promise<void> {
    await this.page.waitForFunction(
      () => (globalThis as unknown as Partial<PageGlobals>).emulator?.is_running() === true,
    )
    await this.page.evaluate(() => {
      const { emulator, heard } = globalThis as unknown as PageGlobals
      let line = ''
      emulator.add_listener('serial0-output-byte', (byte) => {
        if (byte === 10) heard(line)
        line = byte === 10 ? '' : line + String.fromCharCode(byte)
      })
    })
  }

  #hear(line: string): void {
    this.lines.push(line)
    this.onLine?.(line)
    const waiting = this.#waiting.filter(({ test }) => test.test(line))
    this.#waiting = this.#waiting.filter((entry) => !waiting.includes(entry))
    for (const { resolve } of waiting) resolve(line)
  }
}
