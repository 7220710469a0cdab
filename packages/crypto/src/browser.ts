/**
 * Encryption of disk images in pages and workers, by WebCrypto and audited JavaScript. In Node.js, the same names come from
 * node-js.ts.
 * @module
 */
import { type DiskCrypto, diskCryptoOf } from './disk-crypto.ts'
import { browserPrimitives } from './platform/browser.ts'

export * from './both.ts'

/** Encryption of disks. */
export const diskCrypto: DiskCrypto = diskCryptoOf(browserPrimitives)
