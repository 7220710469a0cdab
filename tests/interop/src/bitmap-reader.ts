/** Reads the bitmaps of a qcow2 file by the specification alone, with none of the code that is tested. */

/** One bitmap, as it lies in the file. */
export interface ReadBitmap {
  readonly name: string
  /** Bytes that one bit stands for. */
  readonly granularity: number
  readonly inUse: boolean
  readonly auto: boolean
  /** The numbers of the blocks whose bits are set. */
  readonly dirty: readonly number[]
}

/** All bitmaps of a file, in the order of its directory. */
export function readBitmaps(file: Uint8Array): readonly ReadBitmap[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const u64 = (at: number): number => Number(view.getBigUint64(at))
  const clusterSize = 2 ** view.getUint32(20)
  const size = u64(24)
  let at = view.getUint32(100)
  while (view.getUint32(at) !== 0x2385_2875) {
    if (view.getUint32(at) === 0) return []
    at += 8 + Math.ceil(view.getUint32(at + 4) / 8) * 8
  }
  if ((u64(88) & 1) === 0) throw new Error('there are bitmaps, and the autoclear bit is clear')
  const count = view.getUint32(at + 8)
  let entry = u64(at + 24)
  const end = entry + u64(at + 16)
  const bitmaps: ReadBitmap[] = []
  while (entry < end) {
    const flags = view.getUint32(entry + 12)
    const granularity = 2 ** view.getUint8(entry + 17)
    const nameBytes = view.getUint16(entry + 18)
    const dirty: number[] = []
    const [table, entries] = [u64(entry), view.getUint32(entry + 8)]
    for (let index = 0; index < entries; index++) {
      const word = view.getBigUint64(table + index * 8)
      const host = Number(word & ~511n)
      const first = index * clusterSize * 8
      const bits = Math.min(clusterSize * 8, Math.ceil(size / granularity) - first)
      for (let bit = 0; word !== 0n && bit < bits; bit++) {
        const isSet = word === 1n || ((view.getUint8(host + (bit >> 3)) >> (bit & 7)) & 1) === 1
        if (isSet) dirty.push(first + bit)
      }
    }
    const name = new TextDecoder().decode(file.subarray(entry + 24, entry + 24 + nameBytes))
    bitmaps.push({ name, granularity, inUse: (flags & 1) !== 0, auto: (flags & 2) !== 0, dirty })
    entry += Math.ceil((24 + nameBytes) / 8) * 8
  }
  if (bitmaps.length !== count)
    throw new Error(`the header says ${count} bitmaps, there are ${bitmaps.length}`)
  return bitmaps
}
