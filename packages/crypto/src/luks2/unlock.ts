/** Opening the key slots of LUKS version 2: by PBKDF2 or Argon2, with bounds for what a header may ask for. */
import { alignUp, BlockError, isBlockError, SECTOR } from '@vmblock/block-core/driver'
import { parseAlgorithms, usableCipher } from '../luks/algorithms.ts'
import { mergeKey } from '../luks/anti-forensic.ts'
import { MAX_ITERATIONS } from '../luks/iterations.ts'
import { isSame, type LuksStore } from '../luks/key-slots.ts'
import { HASHES, type HashName, type Primitives } from '../platform/primitives.ts'
import { type CipherSpec, makeSectorCipher } from '../sectors/sector-cipher.ts'
import type { Digest, KeyDerivation, Luks2Slot, Metadata } from './metadata.ts'

/** Bounds of Argon2 in LUKS version 2. */
const LEAST_SALT = 8
const MOST_LANES = 4
const MOST_MEMORY = 4 * 2 ** 20
/** Blocks of a KiB that may be filled, all slots together: 4 GiB sixteen times, which takes minutes. What has begun cannot be ended. */
const MOST_BLOCKS = 2 ** 26

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** @throws BlockError ENOTSUP for a hash that is not known here */
function hashNamed(name: string): HashName {
  if (!Object.hasOwn(HASHES, name)) throw new BlockError('ENOTSUP', `Hash algorithm '${name}' not supported`)
  return name as HashName
}

/**
 * A cipher as LUKS version 2 names it: `aes-xts-plain64`.
 *
 * @param keyBytes bytes of its key
 * @throws BlockError ENOTSUP, EINVAL, by its name, for one that no library here has
 */
export function cipherNamed(encryption: string, keyBytes: number): CipherSpec {
  const dash = encryption.indexOf('-')
  if (dash < 0 || encryption.startsWith('capi:'))
    throw new BlockError('ENOTSUP', `Cipher '${encryption}' not supported`)
  const [cipher, cipherMode] = [encryption.slice(0, dash), encryption.slice(dash + 1)]
  return usableCipher(parseAlgorithms({ cipher, cipherMode, hash: 'sha256', keyBytes }))
}

/** @throws BlockError EINVAL for a header that would keep an opening busy for hours, or take more memory than it may */
function requireBearable({ slots, digest }: Metadata): void {
  let [iterations, blocks] = [0, 0]
  for (const { derivation, id } of slots) {
    iterations += digest.iterations
    if (derivation.type === 'pbkdf2') iterations += derivation.iterations
    else {
      const { memory, time, cpus, salt } = derivation
      if (memory > MOST_MEMORY)
        throw invalid(
          `Keyslot ${id} asks for ${memory} KiB of memory, and no more than ${MOST_MEMORY} are used`,
        )
      if (cpus === 0 || cpus > MOST_LANES || time === 0 || memory < 8 * cpus || salt.length < LEAST_SALT)
        throw invalid(`Keyslot ${id} has parameters that Argon2 does not take`)
      blocks += memory * time
    }
  }
  if (iterations > MAX_ITERATIONS)
    throw invalid(
      `The key slots ask for ${iterations} iterations of PBKDF2, and no more than ${MAX_ITERATIONS} are made`,
    )
  if (blocks > MOST_BLOCKS)
    throw invalid(
      `The key slots ask for ${blocks} blocks of Argon2, and no more than ${MOST_BLOCKS} are made`,
    )
}

async function derive(
  primitives: Primitives,
  how: KeyDerivation,
  passphrase: Uint8Array,
  bytes: number,
): Promise<Uint8Array> {
  if (how.type === 'pbkdf2')
    return primitives.pbkdf2(hashNamed(how.hash), passphrase, how.salt, how.iterations, bytes)
  const cost = { passes: how.time, memory: how.memory, lanes: how.cpus }
  return primitives.argon2(how.type, passphrase, how.salt, cost, bytes)
}

/** The master key, if the passphrase opens the slot; the caller overwrites it. */
async function unlockSlot(
  primitives: Primitives,
  store: LuksStore,
  slot: Luks2Slot,
  digest: Digest,
  passphrase: Uint8Array,
): Promise<Uint8Array | undefined> {
  const { keyBytes, stripes, areaKeyBytes } = slot
  const hash = hashNamed(slot.hash)
  const spec = cipherNamed(slot.encryption, areaKeyBytes)
  const material = new Uint8Array(alignUp(keyBytes * stripes, SECTOR))
  await store.read(slot.offset, material)
  const slotKey = await derive(primitives, slot.derivation, passphrase, areaKeyBytes)
  try {
    const cipher = makeSectorCipher(primitives, spec, slotKey)
    cipher.decrypt(0, material, material)
    cipher.close()
    const split = material.subarray(0, keyBytes * stripes)
    const masterKey = await mergeKey(primitives, hash, split, keyBytes)
    const { hash: name, salt, iterations, digest: wanted } = digest
    const found = await primitives.pbkdf2(hashNamed(name), masterKey, salt, iterations, wanted.length)
    if (isSame(found, wanted)) return masterKey
    masterKey.fill(0)
    return undefined
  } finally {
    slotKey.fill(0)
    material.fill(0)
  }
}

/**
 * The master key that a passphrase opens in any slot; the caller overwrites it.
 *
 * @throws BlockError EINVAL, in QEMU's words, if there is none, and for slots that ask for too much; ENOTSUP if there is none
 *   and one of the slots cannot be tried here; ENOMEM; the error of the store
 */
export async function unlock(
  primitives: Primitives,
  store: LuksStore,
  metadata: Metadata,
  passphrase: Uint8Array,
): Promise<Uint8Array> {
  requireBearable(metadata)
  let failure: unknown
  const slots = metadata.slots.filter(({ priority }) => priority > 0)
  for (const slot of slots.sort((a, b) => b.priority - a.priority || a.id - b.id)) {
    try {
      const masterKey = await unlockSlot(primitives, store, slot, metadata.digest, passphrase)
      if (masterKey) return masterKey
    } catch (error) {
      // Another slot may be one that can be tried.
      if (!isBlockError(error, 'ENOTSUP')) throw error
      failure ??= error
    }
  }
  throw failure ?? invalid('Invalid password, cannot unlock any keyslot')
}
