/** What docs/browsers.md finds: an image on a web server. */
import { DISKS } from '../../../support/disk-server.ts'

/** Where the image is. */
export const baseUrl: string = new URL(`${DISKS}base.img`, globalThis.location?.href ?? 'http://localhost')
  .href

/** Puts a raw disk of 1 MiB there. */
export async function prepare(): Promise<void> {
  await fetch(baseUrl, { method: 'POST', body: new Uint8Array(2 ** 20) })
}
