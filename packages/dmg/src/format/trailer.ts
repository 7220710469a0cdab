/**
 * The trailer of a UDIF image, 512 bytes, big endian, at the end of the file. Apple does not describe it; these are the
 * facts that independent readers agree on, and QEMU's limits.
 */
import { BlockError, be, layout, SECTOR } from '@vmblock/block-core/driver'

/** The most sectors whose bytes a number holds exactly. */
export const MAX_SECTORS = BigInt(Math.floor(Number.MAX_SAFE_INTEGER / SECTOR))

/** Bytes of the trailer. */
export const TRAILER_BYTES = 512
/** How far from the end of the file it may begin: QEMU finds one with 511 bytes behind it. */
const FARTHEST = 1023

/** The first fields. */
const START = layout('dmg trailer', 80, {
  magic: be.u32(0),
  version: be.u32(4),
  trailerSize: be.u32(8),
  flags: be.u32(12),
  runningOffset: be.flags64(16),
  dataForkOffset: be.flags64(24),
  dataForkLength: be.flags64(32),
  resourceForkOffset: be.flags64(40),
  resourceForkLength: be.flags64(48),
  segment: be.u32(56),
  segments: be.u32(60),
  segmentId1: be.flags64(64),
  segmentId2: be.flags64(72),
})
/** Those of the property list, behind the checksum of the data. */
const LIST_AT = 216
const LIST = layout('dmg property list', 16, { offset: be.flags64(0), length: be.flags64(8) })
/** Those at the end, behind the checksum of all of it. */
const END_AT = 488
const END = layout('dmg size', 12, { variant: be.u32(0), sectors: be.flags64(4) })

const KOLY = [0x6b, 0x6f, 0x6c, 0x79] as const
/** The magic, the version, and the size of the trailer. */
const KOLY_4_512 = [...KOLY, 0, 0, 0, 4, 0, 0, 2, 0] as const

/** A part of the file, in bytes. */
export interface FilePart {
  readonly offset: number
  readonly length: number
}

/** A checked trailer. */
export interface Trailer {
  /** Where the data begins to which chunks refer, in bytes. */
  readonly dataForkOffset: number
  /** Where the tables are: in a resource fork, or else in a property list. */
  readonly tables: FilePart & { readonly kind: 'resource fork' | 'property list' }
  /** Sectors of the disk; 0: the tables say how many. */
  readonly sectors: number
}

/**
 * Finds the trailer. One whose version and size are right comes first, for the four letters may be in anything.
 *
 * @param tail the end of the file
 * @param lettersOnly whether four letters alone do, as they do for QEMU
 * @returns its offset in `tail`; undefined if there is none
 */
export function findTrailer(tail: Uint8Array, lettersOnly: boolean): number | undefined {
  for (const wanted of lettersOnly ? [KOLY_4_512, KOLY] : [KOLY_4_512])
    for (let at = Math.max(tail.length - FARTHEST, 0); at + wanted.length <= tail.length; at++)
      if (wanted.every((byte, index) => tail[at + index] === byte)) return at
  return undefined
}

/**
 * Reads the trailer.
 *
 * @param bytes 512, zeroes where the file is shorter
 * @param at its offset in the file, in bytes
 * @throws BlockError EINVAL if a part of the image is not before it, or there are no tables; ENOTSUP for one of
 *   several files; EFBIG for a size that no number holds
 */
export function parseTrailer(bytes: Uint8Array, at: number): Trailer {
  const start = START.read(bytes)
  const list = LIST.read(bytes, LIST_AT)
  const { sectors } = END.read(bytes, END_AT)
  if (start.segments > 1)
    throw new BlockError(
      'ENOTSUP',
      `The dmg image is part ${start.segment} of ${start.segments}: images in several files are not supported`,
    )
  const before = (what: string, offset: bigint, length: bigint): FilePart => {
    if (offset > at || length > BigInt(at) - offset)
      throw new BlockError('EINVAL', `The ${what} of the dmg image is not before its trailer at ${at}`)
    return { offset: Number(offset), length: Number(length) }
  }
  if (sectors > MAX_SECTORS)
    throw new BlockError('EFBIG', `The dmg image has ${sectors} sectors, more than 2^53-1 bytes`)
  const { offset: dataForkOffset } = before('data fork', start.dataForkOffset, 0n)
  const common = { dataForkOffset, sectors: Number(sectors) }
  // What is not used is not looked at: QEMU refuses images whose property list is empty and at the end.
  if (start.resourceForkLength !== 0n) {
    const fork = before('resource fork', start.resourceForkOffset, start.resourceForkLength)
    return { ...common, tables: { ...fork, kind: 'resource fork' } }
  }
  if (list.length === 0n)
    throw new BlockError('EINVAL', 'The dmg image has neither a resource fork nor a property list')
  return {
    ...common,
    tables: { ...before('property list', list.offset, list.length), kind: 'property list' },
  }
}

/** Bytes of the largest tables, as in QEMU. */
const MAX_TABLES = 16 * 2 ** 20

/** @throws BlockError EFBIG if tables are too large to be read */
export function checkTables({ kind, length }: Trailer['tables']): void {
  if (length > MAX_TABLES)
    throw new BlockError('EFBIG', `The ${kind} of the dmg image has ${length} bytes, more than ${MAX_TABLES}`)
}

const ENCRYPTED_START = 'encrcdsa'
const ENCRYPTED_END = 'cdsaencr'

const textAt = (bytes: Uint8Array, at: number): string =>
  at < 0 ? '' : String.fromCharCode(...bytes.subarray(at, at + ENCRYPTED_START.length))

/** Whether a file is an encrypted image: version 2 says so at its beginning, version 1 at its end. */
export const isEncrypted = (head: Uint8Array, tail: Uint8Array): boolean =>
  textAt(head, 0) === ENCRYPTED_START || textAt(tail, tail.length - ENCRYPTED_END.length) === ENCRYPTED_END

/** A file offset as a number. @throws BlockError EFBIG beyond 2^53-1 */
export function exactOffset(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new BlockError('EFBIG', `${what} exceeds 2^53-1: 0x${value.toString(16)}`)
  return Number(value)
}
