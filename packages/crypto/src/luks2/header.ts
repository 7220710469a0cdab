/**
 * The binary header of LUKS version 2, of which a volume has two copies; behind each is its metadata, JSON text. The copy that is
 * whole and newer counts. Facts from the LUKS2 On-Disk Format Specification, version 1.1.
 */
import { BlockError, be, layout, viewOf } from '@vmblock/block-core/driver'
import type { LuksStore } from '../luks/key-slots.ts'
import { HASHES, type HashName, type Primitives } from '../platform/primitives.ts'
import { type Metadata, parseMetadata } from './metadata.ts'

/** Bytes before the metadata. */
const BINARY_BYTES = 4096
/** Lengths that a header with its metadata may have, in bytes. The second copy follows the first. */
const LENGTHS = Array.from({ length: 9 }, (_, power) => 0x4000 * 2 ** power)

const MAGIC = { first: 'LUKS\xba\xbe', second: 'SKUL\xba\xbe' } as const
const VERSION = 2

/** Offsets of texts and bytes in the header, with their lengths. */
const FIELDS = {
  label: [24, 48],
  checksumAlgorithm: [72, 32],
  uuid: [168, 40],
  subsystem: [208, 48],
} as const
const CHECKSUM_AT = 448
const CHECKSUM_BYTES = 64

/** The numbers behind the magic. */
const NUMBERS = layout('LUKS2 header', 18, {
  version: be.u16(0),
  length: be.u64(2),
  sequence: be.flags64(10),
})
const NUMBERS_AT = 6
const OWN_OFFSET = 256

/** A whole copy of the header. */
export interface Luks2Header {
  /** Bytes of one copy. */
  readonly length: number
  /** Grows with each change. */
  readonly sequence: bigint
  readonly uuid: string
  readonly label: string
  readonly subsystem: string
  readonly metadata: Metadata
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

function textAt(bytes: Uint8Array, [at, length]: readonly [number, number]): string {
  const field = bytes.subarray(at, at + length)
  const end = field.indexOf(0)
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end))
}

const startsWith = (bytes: Uint8Array, magic: string): boolean =>
  [...magic].every((letter, i) => bytes[i] === letter.charCodeAt(0))

/**
 * One copy.
 *
 * @throws BlockError EINVAL if it is not whole; ENOTSUP for what its metadata requires; the error of the store
 */
async function readCopy(
  primitives: Primitives,
  store: LuksStore,
  offset: number,
  magic: string,
): Promise<Luks2Header> {
  const head = new Uint8Array(BINARY_BYTES)
  await store.read(offset, head)
  if (!startsWith(head, magic)) throw invalid('Volume is not in LUKS format')
  const version = viewOf(head).getUint16(NUMBERS_AT)
  if (version !== VERSION) throw new BlockError('ENOTSUP', `LUKS version ${version} is not supported`)
  const { length, sequence } = NUMBERS.read(head, NUMBERS_AT)
  if (!LENGTHS.includes(length)) throw invalid(`LUKS2 header has a length of ${length} bytes`)
  if (viewOf(head).getBigUint64(OWN_OFFSET) !== BigInt(offset))
    throw invalid('LUKS2 header is not where it says that it is')
  const bytes = new Uint8Array(length)
  await store.read(offset, bytes)
  requireChecksum(primitives, bytes)
  const area = bytes.subarray(BINARY_BYTES)
  const end = area.indexOf(0)
  return {
    length,
    sequence,
    uuid: textAt(bytes, FIELDS.uuid),
    label: textAt(bytes, FIELDS.label),
    subsystem: textAt(bytes, FIELDS.subsystem),
    metadata: parseMetadata(end < 0 ? area : area.subarray(0, end), length),
  }
}

function requireChecksum(primitives: Primitives, bytes: Uint8Array): void {
  const algorithm = textAt(bytes, FIELDS.checksumAlgorithm)
  if (!Object.hasOwn(HASHES, algorithm))
    throw new BlockError('ENOTSUP', `Hash algorithm '${algorithm}' not supported`)
  const stored = bytes.slice(CHECKSUM_AT, CHECKSUM_AT + HASHES[algorithm as HashName])
  const zeroed = bytes.slice()
  zeroed.fill(0, CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_BYTES)
  const digest = primitives.hash(algorithm as HashName, zeroed)
  if (!stored.every((byte, i) => byte === digest[i])) throw invalid('LUKS2 header has a wrong checksum')
}

/**
 * The header of a volume.
 *
 * @throws BlockError EINVAL if neither copy is whole, for the reason that the first has; ENOTSUP for what the metadata
 *   requires; the error of the store
 */
export async function readLuks2Header(primitives: Primitives, store: LuksStore): Promise<Luks2Header> {
  const found: Luks2Header[] = []
  let failure: unknown
  const take = async (offset: number, magic: string): Promise<void> => {
    try {
      found.push(await readCopy(primitives, store, offset, magic))
    } catch (error) {
      failure ??= error
    }
  }
  await take(0, MAGIC.first)
  // Without the first copy, it is not known where the second one is.
  for (const length of found[0] ? [found[0].length] : LENGTHS) {
    if (found.length > 1) break
    await take(length, MAGIC.second)
  }
  const [first, second] = found
  if (!first) throw failure
  return second && second.sequence > first.sequence ? second : first
}
