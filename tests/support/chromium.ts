/** The browser of the tests: where it is, how it is started, and a profile that goes when they are over. */
import { existsSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Debian's, unless CHROMIUM names another. */
export const CHROMIUM: string = process.env['CHROMIUM'] ?? '/usr/bin/chromium'

/** Without it tests in a browser are left out; REQUIRE_QEMU=1 makes that a failure, as for the other programs. */
export const haveChromium = (): boolean => {
  const isThere = existsSync(CHROMIUM)
  if (!isThere && process.env['REQUIRE_QEMU'] === '1') throw new Error(`${CHROMIUM} is missing`)
  return isThere
}

/** It does nothing of its own accord over the network, and needs no sandbox against our own pages. */
export const CHROMIUM_ARGUMENTS: readonly string[] = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** A profile on the disk: only there storage is real, and quotas count. */
export const PROFILE: string = join(tmpdir(), `vmblock-chromium-${process.pid}`)

/** vitest's global setup: the profile goes when vitest does, for the browser writes to it until its end. */
export const setup = (): void =>
  void process.on('exit', () => rmSync(PROFILE, { recursive: true, force: true, maxRetries: 3 }))
