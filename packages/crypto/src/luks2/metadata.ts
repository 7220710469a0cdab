/**
 * The metadata of LUKS version 2: JSON text, from which is taken what opening a volume needs. Large numbers are decimal text there.
 * Nothing in it is trusted.
 */
import { BlockError, isPlain, SECTOR } from '@vmblock/block-core/driver'

/** Where the data of a volume is, and how it is encrypted. */
export interface Segment {
  /** Bytes from the start of the file with the data. */
  readonly offset: number
  /** Bytes; undefined: up to the end of the file. */
  readonly size: number | undefined
  /** The number of the first sector, in units of 512 bytes. */
  readonly ivTweak: number
  /** `aes-xts-plain64`. */
  readonly encryption: string
  /** Bytes that are encrypted together. */
  readonly sectorSize: number
}

/** What the right master key derives to. */
export interface Digest {
  readonly hash: string
  readonly iterations: number
  readonly salt: Uint8Array
  readonly digest: Uint8Array
}

/** How a passphrase becomes the key of a slot. */
export type KeyDerivation =
  | { readonly type: 'pbkdf2'; readonly hash: string; readonly iterations: number; readonly salt: Uint8Array }
  | {
      readonly type: 'argon2i' | 'argon2id'
      readonly time: number
      /** KiB. */
      readonly memory: number
      readonly cpus: number
      readonly salt: Uint8Array
    }

/** A key slot: a copy of the master key that one passphrase opens. */
export interface Luks2Slot {
  readonly id: number
  /** Bytes of the master key. */
  readonly keyBytes: number
  /** Higher ones are tried first; 0: only if it is asked for, which nothing here does. */
  readonly priority: number
  readonly derivation: KeyDerivation
  /** Of the anti-forensic splitter. */
  readonly hash: string
  readonly stripes: number
  /** Key material: bytes from the start of the header. */
  readonly offset: number
  readonly size: number
  readonly encryption: string
  /** Bytes of the key that the material is encrypted with. */
  readonly areaKeyBytes: number
}

/** What is taken from the metadata. */
export interface Metadata {
  readonly segment: Segment
  /** Where the area of the key slots ends, in bytes from the start of the header. */
  readonly keysEnd: number
  readonly digest: Digest
  /** Those that hold the key of the segment, in their order. */
  readonly slots: readonly Luks2Slot[]
}

type Json = Readonly<Record<string, unknown>>

const invalid = (what: string): BlockError => new BlockError('EINVAL', `LUKS2 metadata: ${what}`)
const unsupported = (what: string): BlockError => new BlockError('ENOTSUP', what)

function objectIn(parent: Json, key: string, where: string): Json {
  const value = Object.hasOwn(parent, key) ? parent[key] : undefined
  if (!isPlain(value)) throw invalid(`${where} has no object '${key}'`)
  return value as Json
}

function textIn(parent: Json, key: string, where: string): string {
  const value = parent[key]
  if (typeof value !== 'string') throw invalid(`${where} has no text '${key}'`)
  return value
}

function countIn(parent: Json, key: string, where: string): number {
  const value = parent[key]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw invalid(`${where} has no count '${key}'`)
  return value
}

/** A large number. @throws BlockError EINVAL, also above 2^53-1 */
function bytesIn(parent: Json, key: string, where: string): number {
  const value = parent[key]
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN
  if (!Number.isSafeInteger(number)) throw invalid(`${where} has no number of bytes '${key}'`)
  return number
}

function binaryIn(parent: Json, key: string, where: string): Uint8Array {
  try {
    return Uint8Array.from(atob(textIn(parent, key, where)), (letter) => letter.charCodeAt(0))
  } catch {
    throw invalid(`${where} has no base64 '${key}'`)
  }
}

function namesIn(parent: Json, key: string, where: string): readonly string[] {
  const value = parent[key]
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string'))
    throw invalid(`${where} has no list '${key}'`)
  return value
}

/**
 * Reads the metadata.
 *
 * @param bytes the JSON text
 * @param length bytes of one copy of header and metadata
 * @throws BlockError EINVAL if it is broken; ENOTSUP, by its name, for what is required and not done here
 */
export function parseMetadata(bytes: Uint8Array, length: number): Metadata {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    throw invalid('it is no JSON text')
  }
  if (!isPlain(json)) throw invalid('it is no object')
  const root = json as Json
  const config = objectIn(root, 'config', 'it')
  requireNothing(config)
  const [id, segment] = segmentIn(objectIn(root, 'segments', 'it'))
  const keysEnd = 2 * length + bytesIn(config, 'keyslots_size', 'config')
  const [digest, slots] = digestOf(objectIn(root, 'digests', 'it'), id)
  const all = objectIn(root, 'keyslots', 'it')
  return {
    segment,
    keysEnd,
    digest,
    slots: slots.flatMap((name) => slotIn(all, name, length, keysEnd) ?? []),
  }
}

/** @throws BlockError ENOTSUP for what a program must know to open the volume: such as that it is half encrypted anew */
function requireNothing(config: Json): void {
  if (config['requirements'] === undefined) return
  const requirements = objectIn(config, 'requirements', 'config')
  if (requirements['mandatory'] === undefined) return
  const [first] = namesIn(requirements, 'mandatory', 'requirements')
  if (first === undefined) return
  const why = first.includes('reencrypt') ? ': the volume is being encrypted anew' : ''
  throw unsupported(`LUKS2 requirement '${first}' is not supported${why}`)
}

const SECTOR_SIZES = [512, 1024, 2048, 4096]

/** @returns the only segment, with its name */
function segmentIn(segments: Json): readonly [string, Segment] {
  const [id, ...others] = Object.keys(segments)
  if (id === undefined) throw invalid('there is no segment')
  if (others.length > 0) throw unsupported('LUKS2 volumes of several segments are not supported')
  const where = `segment ${id}`
  const given = objectIn(segments, id, 'segments')
  const type = textIn(given, 'type', where)
  if (type !== 'crypt') throw unsupported(`LUKS2 segment type '${type}' is not supported`)
  if (given['integrity'] !== undefined) {
    const kind = textIn(objectIn(given, 'integrity', where), 'type', `integrity of ${where}`)
    throw unsupported(`LUKS2 integrity '${kind}' is not supported`)
  }
  const sectorSize = countIn(given, 'sector_size', where)
  if (!SECTOR_SIZES.includes(sectorSize)) throw invalid(`${where} has sectors of ${sectorSize} bytes`)
  const segment = {
    offset: bytesIn(given, 'offset', where),
    size: given['size'] === 'dynamic' ? undefined : bytesIn(given, 'size', where),
    ivTweak: bytesIn(given, 'iv_tweak', where),
    encryption: textIn(given, 'encryption', where),
    sectorSize,
  }
  if (segment.offset % SECTOR !== 0 || (segment.size ?? 0) % sectorSize !== 0)
    throw invalid(`${where} is not made of whole sectors`)
  return [id, segment]
}

/** The digest of a segment, and the names of the key slots for it. */
function digestOf(digests: Json, segment: string): readonly [Digest, readonly string[]] {
  for (const id of Object.keys(digests)) {
    const where = `digest ${id}`
    const given = objectIn(digests, id, 'digests')
    if (!namesIn(given, 'segments', where).includes(segment)) continue
    const type = textIn(given, 'type', where)
    if (type !== 'pbkdf2') throw unsupported(`LUKS2 digest type '${type}' is not supported`)
    const digest = {
      hash: textIn(given, 'hash', where),
      iterations: countIn(given, 'iterations', where),
      salt: binaryIn(given, 'salt', where),
      digest: binaryIn(given, 'digest', where),
    }
    // An empty one would be that of every key.
    if (digest.iterations === 0 || digest.digest.length < 16) throw invalid(`${where} is no digest`)
    return [digest, namesIn(given, 'keyslots', where)]
  }
  throw invalid(`segment ${segment} has no digest`)
}

/** Most bytes of a key: two of AES-256. Other ciphers have no longer ones. */
const MOST_KEY_BYTES = 128
const MOST_STRIPES = 4000

/** @returns undefined for slots of types that open nothing here */
function slotIn(all: Json, id: string, length: number, keysEnd: number): Luks2Slot | undefined {
  const where = `keyslot ${id}`
  const given = objectIn(all, id, 'keyslots')
  if (textIn(given, 'type', where) !== 'luks2') return undefined
  const [af, area] = [objectIn(given, 'af', where), objectIn(given, 'area', where)]
  const derivation = derivationIn(objectIn(given, 'kdf', where), where)
  if (!derivation) return undefined
  const slot = {
    id: Number(id),
    keyBytes: countIn(given, 'key_size', where),
    priority: given['priority'] === undefined ? 1 : countIn(given, 'priority', where),
    derivation,
    hash: textIn(af, 'hash', where),
    stripes: countIn(af, 'stripes', where),
    offset: bytesIn(area, 'offset', where),
    size: bytesIn(area, 'size', where),
    encryption: textIn(area, 'encryption', where),
    areaKeyBytes: countIn(area, 'key_size', where),
  }
  const sizes = [slot.keyBytes, slot.areaKeyBytes]
  if (sizes.some((bytes) => bytes === 0 || bytes > MOST_KEY_BYTES))
    throw invalid(`${where} has a key of ${sizes.join(' or ')} bytes`)
  if (slot.stripes === 0 || slot.stripes > MOST_STRIPES) throw invalid(`${where} has ${slot.stripes} stripes`)
  if (slot.offset < 2 * length || slot.offset + slot.size > keysEnd || slot.offset % SECTOR !== 0)
    throw invalid(`${where} is outside the area of key slots`)
  if (slot.keyBytes * slot.stripes > slot.size) throw invalid(`${where} is larger than its area`)
  return slot
}

/** @returns undefined for one that is not known */
function derivationIn(kdf: Json, where: string): KeyDerivation | undefined {
  const type = textIn(kdf, 'type', where)
  const salt = (): Uint8Array => binaryIn(kdf, 'salt', where)
  if (type === 'pbkdf2') {
    const iterations = countIn(kdf, 'iterations', where)
    if (iterations === 0) throw invalid(`${where} has no iterations`)
    return { type, hash: textIn(kdf, 'hash', where), iterations, salt: salt() }
  }
  if (type !== 'argon2i' && type !== 'argon2id') return undefined
  const [time, memory, cpus] = ['time', 'memory', 'cpus'].map((key) => countIn(kdf, key, where))
  return { type, time: time!, memory: memory!, cpus: cpus!, salt: salt() }
}
