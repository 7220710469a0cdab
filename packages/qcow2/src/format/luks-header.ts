/**
 * The header of LUKS version 1: the facts that need no key. Checked in QEMU's order, with QEMU's messages.
 */
import { alignUp, BlockError, SECTOR, viewOf } from '@vmblock/block-core/driver'

/** Bytes of the header with all its key slots. */
export const LUKS_HEADER_BYTES = 592

const MAGIC = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]
const SLOTS = 8
const SLOTS_AT = 208
const SLOT_BYTES = 48
const STRIPES = 4000
const ACTIVE = 0x00ac_71f3
const DISABLED = 0x0000_dead
/** Sectors that only the header may use; key material takes multiples of this number. */
const HEADER_SECTORS = 8

const MODES = ['ecb', 'cbc', 'xts', 'ctr']
const IV_GENERATORS = ['plain', 'plain64', 'essiv']
const HASHES = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160']
/** Key sizes of the ciphers, in bytes. */
const KEY_BYTES: Readonly<Record<string, readonly number[]>> = {
  aes: [16, 24, 32],
  cast5: [16],
  serpent: [16, 24, 32],
  twofish: [16, 24, 32],
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

interface Slot {
  readonly state: number
  readonly iterations: number
  /** Sectors, from the start of the header. */
  readonly keySector: number
  readonly stripes: number
}

/** The text in a field of fixed length. @throws BlockError EINVAL if it has no NUL and `what` names it */
function textAt(bytes: Uint8Array, at: number, length: number, what?: string): string {
  const field = bytes.subarray(at, at + length)
  const end = field.indexOf(0)
  if (end < 0 && what !== undefined) throw invalid(`LUKS header ${what} is not NUL terminated`)
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end))
}

function oneOf(known: readonly string[], name: string, what: string): string {
  if (!known.includes(name)) throw invalid(`${what} '${name}' not supported`)
  return name
}

/**
 * The facts of a header, with the keys of `qemu-img info`; offsets are bytes.
 *
 * @param bytes the {@link LUKS_HEADER_BYTES} bytes of the header
 * @throws BlockError EINVAL, ENOTSUP for headers that QEMU would not open either
 */
export function luksFacts(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  const view = viewOf(bytes)
  if (!MAGIC.every((byte, index) => bytes[index] === byte)) throw invalid('Volume is not in LUKS format')
  const version = view.getUint16(6)
  if (version !== 1) throw new BlockError('ENOTSUP', `LUKS version ${version} is not supported`)
  const cipher = textAt(bytes, 8, 32, 'cipher name')
  const cipherMode = textAt(bytes, 40, 32, 'cipher mode')
  const hash = textAt(bytes, 72, 32, 'hash spec')
  const [payload, keyBytes, iterations] = [view.getUint32(104), view.getUint32(108), view.getUint32(164)]
  if (payload < HEADER_SECTORS) throw invalid('LUKS payload is overlapping with the header')
  if (iterations === 0) throw invalid('LUKS key iteration count is zero')
  const slots = readSlots(view)
  checkSlots(slots, keyBytes, payload)
  return {
    format: 'luks',
    ...algorithms(cipher, cipherMode, hash, keyBytes),
    'payload-offset': payload * SECTOR,
    'master-key-iters': iterations,
    uuid: textAt(bytes, 168, 40),
    slots: slots.map(({ state, iterations: iters, keySector, stripes }) => ({
      active: state === ACTIVE,
      ...(state === ACTIVE && { iters, stripes }),
      'key-offset': keySector * SECTOR,
    })),
  }
}

function readSlots(view: DataView): Slot[] {
  return Array.from({ length: SLOTS }, (_, index) => {
    const at = SLOTS_AT + index * SLOT_BYTES
    const [state, iterations] = [view.getUint32(at), view.getUint32(at + 4)]
    return { state, iterations, keySector: view.getUint32(at + 40), stripes: view.getUint32(at + 44) }
  })
}

function checkSlots(slots: readonly Slot[], keyBytes: number, payload: number): void {
  const sectors = alignUp(Math.ceil((keyBytes * STRIPES) / SECTOR), HEADER_SECTORS)
  for (const [i, { state, iterations, keySector, stripes }] of slots.entries()) {
    if (stripes !== STRIPES) throw invalid(`Keyslot ${i} is corrupted (stripes ${stripes} != ${STRIPES})`)
    if (keySector < HEADER_SECTORS) throw invalid(`Keyslot ${i} is overlapping with the LUKS header`)
    if (state !== ACTIVE && state !== DISABLED)
      throw invalid(`Keyslot ${i} state (active/disable) is corrupted`)
    if (state === ACTIVE && iterations === 0) throw invalid(`Keyslot ${i} iteration count is zero`)
    if (keySector + sectors > payload) throw invalid(`Keyslot ${i} is overlapping with the encrypted payload`)
    const other = slots.findIndex((slot, j) => j > i && Math.abs(slot.keySector - keySector) < sectors)
    if (other >= 0) throw invalid(`Keyslots ${i} and ${other} are overlapping in the header`)
  }
}

/** `xts-plain64`, `cbc-essiv:sha256`: the mode, the generator of initial vectors, and its hash. */
function algorithms(cipher: string, cipherMode: string, hash: string, keyBytes: number) {
  const dash = cipherMode.indexOf('-')
  if (dash < 0) throw invalid(`Unexpected cipher mode string format '${cipherMode}'`)
  const mode = oneOf(MODES, cipherMode.slice(0, dash), 'Cipher mode')
  const [generator = '', ...hashes] = cipherMode.slice(dash + 1).split(':')
  const ivHash = hashes.length > 0 ? hashes.join(':') : undefined
  // Two keys in one; an odd byte is dropped, as in QEMU.
  const effective = mode === 'xts' ? Math.floor(keyBytes / 2) : keyBytes
  if (!Object.hasOwn(KEY_BYTES, cipher) || !KEY_BYTES[cipher]!.includes(effective))
    throw invalid(`Algorithm '${cipher}' with key size ${effective} bytes not supported`)
  const hashAlg = oneOf(HASHES, hash, 'Hash algorithm')
  const ivgen = oneOf(IV_GENERATORS, generator, 'IV generator')
  if (ivgen === 'essiv' && ivHash === undefined) throw invalid('Missing IV generator hash specification')
  if (ivHash !== undefined) oneOf(HASHES, ivHash, 'Hash algorithm')
  return {
    'cipher-alg': `${cipher}-${effective * 8}`,
    'cipher-mode': mode,
    'ivgen-alg': ivgen,
    ...(ivgen === 'essiv' && { 'ivgen-hash-alg': ivHash }),
    'hash-alg': hashAlg,
  }
}
