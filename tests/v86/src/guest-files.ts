/**
 * The files that the guest boots from, as `scripts/guest.mjs` made them: a kernel, an initramfs, and BIOSes.
 * @module
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const HOME = fileURLToPath(new URL('../../../.cache/guest/', import.meta.url))
const MANIFEST = `${HOME}manifest.json`

/** Whether there is a guest. REQUIRE_QEMU=1 makes its absence an error instead of a skip. */
export const haveGuest: boolean = existsSync(MANIFEST) || process.env['REQUIRE_QEMU'] === '1'

/** The files of the guest. */
export type GuestFile = 'vmlinuz.bin' | 'initramfs.bin' | 'bios.bin' | 'vgabios.bin'

/** Reads one of the files into a buffer of its own. */
export function guestFile(name: GuestFile): ArrayBuffer {
  if (!existsSync(MANIFEST)) throw new Error('there is no guest: node scripts/guest.mjs makes it')
  return new Uint8Array(readFileSync(HOME + name)).buffer
}

/** A file derived from the guest and from `ingredients`, and kept until any of them changes. */
export class Kept {
  readonly #name: string
  readonly #file: string

  constructor(name: string, ingredients: readonly string[]) {
    const hash = createHash('sha256')
    for (const path of [MANIFEST, ...ingredients]) hash.update(readFileSync(path)).update('\0')
    this.#name = name
    this.#file = `${name}-${hash.digest('hex').slice(0, 16)}`
  }

  /** Returns what is kept; undefined if nothing is, or its ingredients have changed. */
  get(): ArrayBuffer | undefined {
    const path = HOME + this.#file
    return existsSync(path) ? new Uint8Array(readFileSync(path)).buffer : undefined
  }

  /** Keeps `content` in place of what was kept before. */
  put(content: ArrayBuffer): void {
    for (const file of readdirSync(HOME))
      if (file.startsWith(`${this.#name}-`)) rmSync(HOME + file, { force: true })
    writeFileSync(HOME + this.#file, new Uint8Array(content))
  }
}
