/**
 * Encryption of disk images in Node.js, Bun and Deno, by OpenSSL. In a page, the same names come from browser.ts.
 * @module
 */
import { type DiskCrypto, diskCryptoOf } from './disk-crypto.ts'
import { nodePrimitives } from './platform/node-js.ts'

export * from './both.ts'

/** Encryption of disks. */
export const diskCrypto: DiskCrypto = diskCryptoOf(nodePrimitives)
