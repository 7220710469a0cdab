/** Guest data where it lies in the file: encrypted, if the image is. Compressed data never is. */
import { pause, SECTOR } from '@vmblock/block-core/driver'
import type { Image } from './image.ts'

/** Bytes that are encrypted at once: about a millisecond. */
const PIECE = 2 ** 18
/** Of that, small requests ({@link pause}). */
const UNITS = PIECE / 16384

async function crypt(
  image: Image,
  direction: 'encrypt' | 'decrypt',
  guest: number,
  from: Uint8Array,
  into: Uint8Array,
): Promise<void> {
  for (let at = 0; at < from.length; at += PIECE) {
    const turn = at > 0 ? pause(UNITS) : undefined
    if (turn) await turn
    const sector = (guest + at) / SECTOR
    image.cipher![direction](sector, from.subarray(at, at + PIECE), into.subarray(at, at + PIECE))
  }
}

/** Fills `into` from a host offset; what the file does not hold, because a crash cut it off, reads as zeroes. */
export async function readData(image: Image, host: number, guest: number, into: Uint8Array): Promise<void> {
  const { file } = image
  const announced = file.debugEvent('read_aio')
  if (announced) await announced
  const there = Math.min(into.length, Math.max(file.size - host, 0))
  if (there > 0) await file.read(host, into.subarray(0, there))
  into.fill(0, there)
  if (image.cipher) await crypt(image, 'decrypt', guest, into, into)
}

/** Writes `from`, that is for a guest offset, to a host offset. */
export async function writeData(image: Image, host: number, guest: number, from: Uint8Array): Promise<void> {
  image.isUnsure = true
  if (!image.cipher) return image.file.write(host, from)
  const sealed = new Uint8Array(from.length)
  await crypt(image, 'encrypt', guest, from, sealed)
  await image.file.write(host, sealed)
}
