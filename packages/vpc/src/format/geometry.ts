/** Cylinders, heads and sectors: by the algorithm of the VHD specification, and as QEMU rounds disks to them. */
import { SECTOR } from '@vmblock/block-core/driver'

/** The geometry of a disk. */
export interface Geometry {
  readonly cylinders: number
  readonly heads: number
  readonly sectorsPerTrack: number
}

/** The largest geometry. It says nothing of the size: that is in the footer's current size then. */
export const MAX_GEOMETRY: Geometry = { cylinders: 65535, heads: 16, sectorsPerTrack: 255 }

/** How many sectors a geometry has. */
export const sectorsOf = ({ cylinders, heads, sectorsPerTrack }: Geometry): number =>
  cylinders * heads * sectorsPerTrack

const MAX_SECTORS = sectorsOf(MAX_GEOMETRY)

/** More than these sectors need 255 sectors in a track. */
const SMALL_DISK = 65535 * 16 * 63
/** More than these tracks in a cylinder's heads need longer tracks. */
const TRACKS_PER_HEAD = 1024

/**
 * The geometry of a disk of that many sectors. It may have fewer.
 *
 * In QEMU the number of heads is a byte that overflows in between; the results are the same.
 */
export function geometryOf(sectors: number): Geometry {
  const total = Math.min(sectors, MAX_SECTORS)
  let sectorsPerTrack = 255
  let heads = 16
  let tracks = Math.floor(total / sectorsPerTrack)
  if (total < SMALL_DISK) {
    sectorsPerTrack = 17
    tracks = Math.floor(total / sectorsPerTrack)
    heads = Math.max(Math.ceil(tracks / TRACKS_PER_HEAD), 4)
    for (const longer of [31, 63]) {
      if (tracks < heads * TRACKS_PER_HEAD && heads <= 16) break
      sectorsPerTrack = longer
      heads = 16
      tracks = Math.floor(total / sectorsPerTrack)
    }
  }
  return { cylinders: Math.floor(tracks / heads), heads, sectorsPerTrack }
}

/** A disk as it is made: QEMU enlarges it until a geometry expresses its size. */
export interface RoundedDisk {
  readonly geometry: Geometry
  /** Bytes. */
  readonly size: number
}

/** The smallest disk of at least `bytes` bytes whose geometry says its size, or that has the largest geometry. */
export function roundToGeometry(bytes: number): RoundedDisk {
  const wanted = Math.floor(bytes / SECTOR)
  const least = Math.min(wanted, MAX_SECTORS)
  let geometry: Geometry = { cylinders: 0, heads: 0, sectorsPerTrack: 0 }
  // A few thousand steps at most: less than a cylinder.
  for (let more = 0; sectorsOf(geometry) < least; more++) geometry = geometryOf(least + more)
  const sectors = sectorsOf(geometry)
  return { geometry, size: (sectors === MAX_SECTORS ? wanted : sectors) * SECTOR }
}

/** Whether the size of a disk is in the footer's current size, whatever program made it. */
export const isLargest = (geometry: Geometry): boolean => sectorsOf(geometry) === MAX_SECTORS
