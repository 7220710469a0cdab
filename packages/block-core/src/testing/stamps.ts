/** Data in which each sector identifies its write, and shows whether it is whole and at the right offset. */

/** The smallest sector that can hold a stamp, in bytes. */
export const LEAST_SECTOR = 16

/**
 * The data of write number `stamp` at `offset`: in every sector the stamp, the sector's number, and the stamp
 * repeated to its end. Stamp 0 is zeroes.
 *
 * @param sector bytes; `offset` and `bytes` are multiples of it
 * @param stamp 0 to 2^32-1
 */
export function stamped(offset: number, bytes: number, stamp: number, sector: number): Uint8Array {
  const words = new Uint32Array(bytes / 4)
  if (stamp === 0) return new Uint8Array(words.buffer)
  words.fill(stamp)
  const step = sector / 4
  for (let at = 1, number = offset / sector; at < words.length; at += step, number++) words[at] = number
  return new Uint8Array(words.buffer)
}

/** The stamp of each sector of data read at `offset`; undefined if a sector is not from a single write. */
export function stampsOf(data: Uint8Array, offset: number, sector: number): (number | undefined)[] {
  // A copy is aligned, even if the view is not.
  const words = new Uint32Array(data.slice().buffer)
  const step = sector / 4
  return Array.from({ length: data.length / sector }, (_, index) => {
    const at = index * step
    const stamp = words[at]!
    if (words[at + 1] !== (stamp === 0 ? 0 : offset / sector + index)) return undefined
    for (let i = at + 2; i < at + step; i++) if (words[i] !== stamp) return undefined
    return stamp
  })
}
