/**
 * The header of LUKS version 1: read and checked in QEMU's order, with QEMU's messages. It needs no key. A header in memory
 * is its bytes, so that what is not known here stays as it is.
 */
import { alignUp, BlockError, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { type LuksAlgorithms, parseAlgorithms } from './algorithms.ts'

/** Bytes of the header with all its key slots. */
export const LUKS_HEADER_BYTES = 592

/** Key slots of a header. */
export const SLOTS = 8
/** Copies of the master key's length in the key material of a slot. */
export const STRIPES = 4000
/** Sectors that only the header may use; key material takes multiples of this number. */
const HEADER_SECTORS = 8
/** Bytes of the digest of the master key. */
export const DIGEST_BYTES = 20
/** Bytes of a salt. */
export const SALT_BYTES = 32

const MAGIC = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]
const ACTIVE = 0x00ac_71f3
const DISABLED = 0x0000_dead
/** Offsets in the header, in bytes. */
const AT = {
  cipher: 8,
  mode: 40,
  hash: 72,
  payload: 104,
  keyBytes: 108,
  digest: 112,
  salt: 132,
  iterations: 164,
  uuid: 168,
}
const NAME_BYTES = 32
const UUID_BYTES = 40
const SLOTS_AT = 208
const SLOT_BYTES = 48

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** A key slot: a copy of the master key that one passphrase opens. */
export interface LuksSlot {
  readonly isActive: boolean
  /** Of PBKDF2. */
  readonly iterations: number
  readonly salt: Uint8Array
  /** Where its key material is, in bytes from the start of the header. */
  readonly keyOffset: number
  /** How many times the length of the key its material has. */
  readonly stripes: number
}

/** A checked header of version 1. */
export interface LuksHeader {
  /** All of it, {@link LUKS_HEADER_BYTES} bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly algorithms: LuksAlgorithms
  /** Where the data begins, in bytes from the start of the header. */
  readonly payloadOffset: number
  /** What the right master key derives to. */
  readonly digest: Uint8Array
  readonly digestSalt: Uint8Array
  /** Of PBKDF2, for the digest. */
  readonly digestIterations: number
  readonly uuid: string
  readonly slots: readonly LuksSlot[]
}

/** The text in a field of fixed length. @throws BlockError EINVAL if it has no NUL and `what` names it */
function textAt(bytes: Uint8Array, at: number, length: number, what?: string): string {
  const field = bytes.subarray(at, at + length)
  const end = field.indexOf(0)
  if (end < 0 && what !== undefined) throw invalid(`LUKS header ${what} is not NUL terminated`)
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end))
}

/**
 * Reads a header.
 *
 * @param bytes {@link LUKS_HEADER_BYTES} bytes
 * @param isDetached the data is in another file
 * @throws BlockError EINVAL, ENOTSUP for headers that QEMU would not open either
 */
export function parseLuksHeader(bytes: Uint8Array<ArrayBuffer>, isDetached = false): LuksHeader {
  const view = viewOf(bytes)
  if (!MAGIC.every((byte, index) => bytes[index] === byte)) throw invalid('Volume is not in LUKS format')
  const version = view.getUint16(6)
  if (version !== 1) throw new BlockError('ENOTSUP', `LUKS version ${version} is not supported`)
  const cipher = textAt(bytes, AT.cipher, NAME_BYTES, 'cipher name')
  const cipherMode = textAt(bytes, AT.mode, NAME_BYTES, 'cipher mode')
  const hash = textAt(bytes, AT.hash, NAME_BYTES, 'hash spec')
  const [payload, keyBytes] = [view.getUint32(AT.payload), view.getUint32(AT.keyBytes)]
  const digestIterations = view.getUint32(AT.iterations)
  if (payload < HEADER_SECTORS && !isDetached) throw invalid('LUKS payload is overlapping with the header')
  if (digestIterations === 0) throw invalid('LUKS key iteration count is zero')
  const slots = Array.from({ length: SLOTS }, (_, index) => readSlot(bytes, index))
  checkSlots(view, slots, keyBytes, isDetached ? Number.POSITIVE_INFINITY : payload)
  return {
    bytes,
    algorithms: parseAlgorithms({ cipher, cipherMode, hash, keyBytes }),
    payloadOffset: payload * SECTOR,
    digest: bytes.subarray(AT.digest, AT.digest + DIGEST_BYTES),
    digestSalt: bytes.subarray(AT.salt, AT.salt + SALT_BYTES),
    digestIterations,
    uuid: textAt(bytes, AT.uuid, UUID_BYTES),
    slots,
  }
}

function readSlot(bytes: Uint8Array, index: number): LuksSlot {
  const view = viewOf(bytes)
  const at = SLOTS_AT + index * SLOT_BYTES
  return {
    isActive: view.getUint32(at) === ACTIVE,
    iterations: view.getUint32(at + 4),
    salt: bytes.subarray(at + 8, at + 8 + SALT_BYTES),
    keyOffset: view.getUint32(at + 40) * SECTOR,
    stripes: view.getUint32(at + 44),
  }
}

/** Sectors of the key material of a slot. */
const slotSectors = (keyBytes: number): number =>
  alignUp(Math.ceil((keyBytes * STRIPES) / SECTOR), HEADER_SECTORS)

function checkSlots(view: DataView, slots: readonly LuksSlot[], keyBytes: number, payload: number): void {
  const sectors = slotSectors(keyBytes)
  for (const [i, { isActive, iterations, keyOffset, stripes }] of slots.entries()) {
    const keySector = keyOffset / SECTOR
    if (stripes !== STRIPES) throw invalid(`Keyslot ${i} is corrupted (stripes ${stripes} != ${STRIPES})`)
    if (keySector < HEADER_SECTORS) throw invalid(`Keyslot ${i} is overlapping with the LUKS header`)
    if (!isActive && view.getUint32(SLOTS_AT + i * SLOT_BYTES) !== DISABLED)
      throw invalid(`Keyslot ${i} state (active/disable) is corrupted`)
    if (isActive && iterations === 0) throw invalid(`Keyslot ${i} iteration count is zero`)
    if (keySector + sectors > payload) throw invalid(`Keyslot ${i} is overlapping with the encrypted payload`)
    const other = slots.findIndex(
      (slot, j) => j > i && Math.abs(slot.keyOffset - keyOffset) < sectors * SECTOR,
    )
    if (other >= 0) throw invalid(`Keyslots ${i} and ${other} are overlapping in the header`)
  }
}

/** The facts of a header, with the keys of `qemu-img info`; offsets are bytes. */
export function luksFacts(header: LuksHeader): Readonly<Record<string, unknown>> {
  const { algorithms, payloadOffset, digestIterations, uuid, slots } = header
  const { cipher, mode, ivGenerator, ivHash, hash } = algorithms
  return {
    format: 'luks',
    'cipher-alg': cipher,
    'cipher-mode': mode,
    'ivgen-alg': ivGenerator,
    ...(ivHash !== undefined && { 'ivgen-hash-alg': ivHash }),
    'hash-alg': hash,
    'payload-offset': payloadOffset,
    'master-key-iters': digestIterations,
    uuid,
    slots: slots.map(({ isActive, iterations, keyOffset, stripes }) => ({
      active: isActive,
      ...(isActive && { iters: iterations, stripes }),
      'key-offset': keyOffset,
    })),
  }
}

/** A new header's fields. */
export interface NewHeader {
  readonly cipherName: string
  readonly cipherMode: string
  readonly hash: string
  readonly keyBytes: number
  readonly uuid: string
  /** The data is in another file, from its start on. */
  readonly isDetached: boolean
}

/** Bytes from the start of a new header to its data: the header, and the key material of eight slots. */
export const payloadOffsetOf = (keyBytes: number): number =>
  (HEADER_SECTORS + SLOTS * slotSectors(keyBytes)) * SECTOR

/** The bytes of a header without active slots; the digest is missing. */
export function newHeaderBytes({
  cipherName,
  cipherMode,
  hash,
  keyBytes,
  uuid,
  isDetached,
}: NewHeader): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  const view = viewOf(bytes)
  const put = (text: string, at: number): void => bytes.set(new TextEncoder().encode(text), at)
  bytes.set(MAGIC)
  view.setUint16(6, 1)
  put(cipherName, AT.cipher)
  put(cipherMode, AT.mode)
  put(hash, AT.hash)
  view.setUint32(AT.payload, isDetached ? 0 : payloadOffsetOf(keyBytes) / SECTOR)
  view.setUint32(AT.keyBytes, keyBytes)
  put(uuid, AT.uuid)
  for (let i = 0; i < SLOTS; i++) {
    const at = SLOTS_AT + i * SLOT_BYTES
    view.setUint32(at, DISABLED)
    view.setUint32(at + 40, HEADER_SECTORS + i * slotSectors(keyBytes))
    view.setUint32(at + 44, STRIPES)
  }
  return bytes
}

/** Enters the digest of the master key. */
export function setDigest(bytes: Uint8Array, digest: Uint8Array, salt: Uint8Array, iterations: number): void {
  bytes.set(digest, AT.digest)
  bytes.set(salt, AT.salt)
  viewOf(bytes).setUint32(AT.iterations, iterations)
}

/** Makes a slot active, with its salt and iterations; without them, disables it. */
export function setSlot(bytes: Uint8Array, index: number, key?: Pick<LuksSlot, 'salt' | 'iterations'>): void {
  const at = SLOTS_AT + index * SLOT_BYTES
  const view = viewOf(bytes)
  view.setUint32(at, key ? ACTIVE : DISABLED)
  view.setUint32(at + 4, key?.iterations ?? 0)
  bytes.set(key?.salt ?? new Uint8Array(SALT_BYTES), at + 8)
}
