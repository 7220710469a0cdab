/** The checksum of footers and headers. */

/** The complement of the sum of all bytes but the checksum's own four, which are at `at`. */
export function checksumOf(bytes: Uint8Array, at: number): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i++) if (i < at || i >= at + 4) sum += bytes[i]!
  return ~sum >>> 0
}
