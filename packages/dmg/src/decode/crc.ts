/** The checksums of compressed streams. */

/** CRC-32 of 256 bytes, for one byte at a time: the reflected polynomial of Ethernet. */
const CRC32 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value
})

/** The CRC-32 of zlib and xz, as an unsigned number. */
export function crc32(data: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of data) crc = CRC32[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** The upper and the lower halves of the CRC-64 of 256 bytes: the reflected polynomial of ECMA-182. */
const CRC64 = (() => {
  const high = new Uint32Array(256)
  const low = new Uint32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let [h, l] = [0, byte]
    for (let bit = 0; bit < 8; bit++) {
      const odd = l & 1
      l = (l >>> 1) | (h << 31)
      h >>>= 1
      if (odd) {
        h ^= 0xc96c5795
        l ^= 0xd7870f42
      }
    }
    high[byte] = h
    low[byte] = l
  }
  return { high, low }
})()

/** The CRC-64 of xz: the upper and the lower half, as unsigned numbers. */
export function crc64(data: Uint8Array): readonly [high: number, low: number] {
  const { high, low } = CRC64
  let [h, l] = [-1, -1]
  for (const byte of data) {
    const index = (l ^ byte) & 0xff
    l = low[index]! ^ ((l >>> 8) | (h << 24))
    h = high[index]! ^ (h >>> 8)
  }
  return [~h >>> 0, ~l >>> 0]
}

/** CRC-32 of 256 bytes with the same polynomial the other way round, as bzip2 has it. */
const CRC32_BZIP2 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1
  return value
})

/** The CRC-32 of a block of bzip2, as an unsigned number. */
export function crc32OfBzip2(data: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of data) crc = (crc << 8) ^ CRC32_BZIP2[(crc >>> 24) ^ byte]!
  return ~crc >>> 0
}
