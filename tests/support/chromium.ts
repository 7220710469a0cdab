/** The browser of the tests: its path, its arguments, and a profile that is removed afterwards. */
import { existsSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Debian's Chromium, unless CHROMIUM names another. */
export const CHROMIUM: string = process.env['CHROMIUM'] ?? '/usr/bin/chromium'

/**
 * Whether there is a browser. Without one its tests are skipped; REQUIRE_QEMU=1 makes that a failure, as for
 * QEMU.
 */
export const haveChromium = (): boolean => {
  const isThere = existsSync(CHROMIUM)
  if (!isThere && process.env['REQUIRE_QEMU'] === '1') throw new Error(`${CHROMIUM} is missing`)
  return isThere
}

/** Arguments: no network traffic of the browser's own, and no sandbox, which our own pages do not need. */
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

/**
 * vitest's global setup: removes the profile when vitest exits, because the browser writes to it until its
 * end.
 */
export const setup = (): void =>
  void process.on('exit', () => rmSync(PROFILE, { recursive: true, force: true, maxRetries: 3 }))
