/** Makes growing images of Bochs, as its emulator does: extents in the order in which they were first written. */

/** What an image shall be like. */
export interface BochsWishes {
  /** Bytes of an extent. Default: 4096. */
  readonly extentSize?: number
  /** Default: 2. */
  readonly version?: 1 | 2
  /** `Growing`, `Undoable` or `Volatile`. Default: the first. */
  readonly subtype?: string
  /** Extents are in the file from the last to the first. Default: no. */
  readonly backwards?: boolean
  /** Sectors of zeroes are in the file, too. Default: no. */
  readonly full?: boolean
}

const SECTOR = 512

/** An image with this content, of whole sectors. */
export function bochsImage(
  content: Uint8Array,
  { extentSize = 4096, version = 2, subtype = 'Growing', backwards = false, full = false }: BochsWishes = {},
): Uint8Array {
  const entries = Math.ceil(content.length / extentSize)
  const sectors = extentSize / SECTOR
  const bitmap = Math.ceil(sectors / 8)
  const bitmapBytes = Math.ceil(bitmap / SECTOR) * SECTOR
  const catalog = new Uint32Array(entries).fill(0xffffffff)
  const extents: Uint8Array[] = []
  const order = Array.from(catalog.keys())
  for (const index of backwards ? order.reverse() : order) {
    const extent = new Uint8Array(bitmapBytes + extentSize)
    for (let sector = 0; sector < sectors; sector++) {
      const at = index * extentSize + sector * SECTOR
      const data = content.subarray(at, at + SECTOR)
      if (data.length === 0 || (!full && data.every((byte) => byte === 0))) continue
      extent[sector >> 3]! |= 1 << (sector & 7)
      extent.set(data, bitmapBytes + sector * SECTOR)
    }
    if (extent.subarray(0, bitmap).every((byte) => byte === 0)) continue
    catalog[index] = extents.length
    extents.push(extent)
  }
  const dataOffset = SECTOR + entries * 4
  const image = new Uint8Array(dataOffset + extents.length * (bitmapBytes + extentSize))
  const put = (at: number, text: string): void =>
    image.set(
      Uint8Array.from(text, (character) => character.charCodeAt(0)),
      at,
    )
  put(0, 'Bochs Virtual HD Image')
  put(32, 'Redolog')
  put(48, subtype)
  const view = new DataView(image.buffer)
  const numbers = [version === 1 ? 0x10000 : 0x20000, SECTOR, entries, bitmap, extentSize]
  for (const [i, value] of numbers.entries()) view.setUint32(64 + i * 4, value, true)
  view.setBigUint64(version === 1 ? 84 : 88, BigInt(content.length), true)
  for (const [i, value] of catalog.entries()) view.setUint32(SECTOR + i * 4, value, true)
  for (const [i, extent] of extents.entries()) image.set(extent, dataOffset + i * extent.length)
  return image
}
