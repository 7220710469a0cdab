/** Reads compressed grains: zlib streams, most of them behind a marker that tells their length. */
import { alignDown, BlockError, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { loadDeflate } from '@vmblock/compression'
import { GRAIN_MARKER } from '../format/markers.ts'
import { deflatedIn, hasChecksum } from '../format/zlib.ts'
import { DecodedGrains } from './decoded-grains.ts'
import type { SparseExtent } from './sparse.ts'

/** What a stream of incompressible data may have beside the data: more than zlib and a marker need. */
const SURPLUS = 2 * SECTOR

/** The most bytes that a grain may have in the file, with its marker. As in QEMU. */
export const mostPacked = (grainSize: number): number => 2 * grainSize + SECTOR

/**
 * Fills `into` from compressed grains that follow each other, in the disk and, with gaps, in the file.
 *
 * @param hosts where their markers are, in bytes
 * @param offset within the first of them
 * @throws BlockError EIO for data that is broken
 */
export async function readCompressed(
  extent: SparseExtent,
  hosts: readonly number[],
  offset: number,
  into: Uint8Array,
): Promise<void> {
  const { grainSize, file } = extent
  const start = alignDown(offset, grainSize)
  const announced = file.debugEvent('read_compressed')
  if (announced) await announced
  if (hosts.length === 1) {
    const [host] = hosts as [number]
    const decode = async (): Promise<Uint8Array> => {
      const packed = await readPacked(extent, host, host + grainSize + SURPLUS)
      return decodeGrain(extent, host, start, packed)
    }
    extent.decoded ??= new DecodedGrains(grainSize)
    const grain = await (into.length < grainSize ? extent.decoded.get(host, decode) : decode())
    into.set(grain.subarray(offset - start, offset - start + into.length))
    return
  }
  const base = hosts[0]!
  const packed = await readPacked(extent, base, hosts.at(-1)! + grainSize + SURPLUS)
  const grains = hosts.map(async (host, i) => {
    const at = start + i * grainSize
    const grain = await decodeGrain(extent, host, at, packed.subarray(host - base))
    const from = Math.max(offset - at, 0)
    into.set(grain.subarray(from, Math.min(grainSize, offset + into.length - at)), Math.max(at - offset, 0))
  })
  // The caller may use the buffer again once this ends: all must have ended.
  for (const each of await Promise.allSettled(grains)) if (each.status === 'rejected') throw each.reason
}

/** Bytes [from, to) of the file, as far as it goes. */
async function readPacked({ file }: SparseExtent, from: number, to: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.max(0, Math.min(to, file.size) - from))
  if (bytes.length > 0) await file.read(from, bytes)
  return bytes
}

/**
 * Decompresses a grain.
 *
 * @param host where its marker is
 * @param at where the grain begins in the extent
 * @param packed what the file has there; read again if it is too short
 * @returns a whole grain; where the disk ends within it, zeroes fill it
 * @throws BlockError EIO
 */
export async function decodeGrain(
  extent: SparseExtent,
  host: number,
  at: number,
  packed: Uint8Array,
): Promise<Uint8Array> {
  const { grainSize, header } = extent
  const broken = (why: string, cause?: unknown): BlockError =>
    new BlockError('EIO', `The compressed grain at ${host} is broken: ${why}`, {
      offset: extent.start + at,
      cause,
    })
  let stream = packed
  if (header.hasMarkers) {
    if (packed.length < GRAIN_MARKER.size) throw broken('it is outside the file')
    const bytes = GRAIN_MARKER.fields.bytes.get(viewOf(packed), 0)
    if (bytes === 0 || bytes > 2 * grainSize) throw broken(`its length is ${bytes} bytes`)
    const end = GRAIN_MARKER.size + bytes
    const whole = end > packed.length ? await readPacked(extent, host, host + end) : packed
    if (whole.length < end) throw broken('it is outside the file')
    stream = whole.subarray(GRAIN_MARKER.size, end)
  } else if (packed.length < mostPacked(grainSize))
    stream = await readPacked(extent, host, host + mostPacked(grainSize))
  const { decompress } = await loadDeflate()
  /** Bytes of the grain that are inside the disk. */
  const inside = Math.min(grainSize, extent.bytes - at)
  try {
    const deflated = deflatedIn(stream)
    let content: Uint8Array
    try {
      content = await decompress(deflated, grainSize)
    } catch (error) {
      if (inside === grainSize) throw error
      content = await decompress(deflated, inside)
    }
    if (header.hasMarkers && !hasChecksum(stream, content)) throw new Error('Its checksum is wrong')
    if (content.length === grainSize) return content
    const grain = new Uint8Array(grainSize)
    grain.set(content)
    return grain
  } catch (error) {
    throw broken((error as Error).message, error)
  }
}
