/** The key slots of a volume: opening one with a passphrase, filling one, erasing one. */
import { BlockError, SECTOR } from '@vmblock/block-core/driver'
import { fillRandom, type Primitives } from '../platform/primitives.ts'
import { makeSectorCipher } from '../sectors/sector-cipher.ts'
import { usableCipher } from './algorithms.ts'
import { mergeKey, splitKey } from './anti-forensic.ts'
import {
  DIGEST_BYTES,
  LUKS_HEADER_BYTES,
  type LuksHeader,
  parseLuksHeader,
  SALT_BYTES,
  STRIPES,
  setSlot,
} from './header.ts'

/** Where a volume's header and key slots are. Offsets are bytes from the start of the header. */
export interface LuksStore {
  /** The data is in another file: so it may begin anywhere there. Default: no. */
  readonly isDetached?: boolean | undefined
  /** Fills all of `into`; past the end of the file it gives zeroes. @throws the error of the file */
  read(offset: number, into: Uint8Array): Promise<void>
  /** @throws the error of the file */
  write(offset: number, from: Uint8Array): Promise<void>
  /** Makes completed writes durable. @throws the error of the file */
  flush(): Promise<void>
}

/** Times that erased key material is overwritten, as in QEMU. */
const ERASE_PASSES = 40

/** Reads and checks the header. @throws BlockError as {@link parseLuksHeader}; the error of the file */
export async function readLuksHeader(store: LuksStore): Promise<LuksHeader> {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  await store.read(0, bytes)
  return parseLuksHeader(bytes, store.isDetached)
}

/** Encrypts or decrypts key material, whose sectors count from 0 in every slot. */
function cryptMaterial(
  primitives: Primitives,
  header: LuksHeader,
  key: Uint8Array,
  material: Uint8Array,
  direction: 'encrypt' | 'decrypt',
): void {
  const cipher = makeSectorCipher(primitives, usableCipher(header.algorithms), key)
  try {
    cipher[direction](0, material, material)
  } finally {
    cipher.close()
  }
}

/** The digest that only the right master key has. */
export const digestOf = (
  primitives: Primitives,
  header: LuksHeader,
  masterKey: Uint8Array,
): Promise<Uint8Array> =>
  primitives.pbkdf2(
    header.algorithms.hash,
    masterKey,
    header.digestSalt,
    header.digestIterations,
    DIGEST_BYTES,
  )

/** Compares without telling by its time where the difference is. */
export const isSame = (one: Uint8Array, other: Uint8Array): boolean =>
  one.reduce((difference, byte, i) => difference | (byte ^ other[i]!), 0) === 0

/**
 * The master key, if the passphrase opens the slot; the caller overwrites it.
 *
 * @param index of the slot
 * @throws BlockError ENOTSUP for a cipher that no library here has; the error of the file
 */
export async function unlockSlot(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  index: number,
  passphrase: Uint8Array,
): Promise<Uint8Array | undefined> {
  const slot = header.slots[index]!
  if (!slot.isActive) return undefined
  const { hash, keyBytes } = header.algorithms
  usableCipher(header.algorithms)
  const material = new Uint8Array(keyBytes * slot.stripes)
  await store.read(slot.keyOffset, material)
  const slotKey = await primitives.pbkdf2(hash, passphrase, slot.salt, slot.iterations, keyBytes)
  try {
    cryptMaterial(primitives, header, slotKey, material, 'decrypt')
    const masterKey = await mergeKey(primitives, hash, material, keyBytes)
    if (isSame(await digestOf(primitives, header, masterKey), header.digest)) return masterKey
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
 * @throws BlockError EINVAL, in QEMU's words, if there is none; as {@link unlockSlot}
 */
export async function unlock(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  passphrase: Uint8Array,
): Promise<Uint8Array> {
  for (const index of header.slots.keys()) {
    const masterKey = await unlockSlot(primitives, store, header, index, passphrase)
    if (masterKey) return masterKey
  }
  throw new BlockError('EINVAL', 'Invalid password, cannot unlock any keyslot')
}

/**
 * Writes the header's bytes from `from` to `to` sector by sector, each durable before the next: sectors are written whole,
 * and the one with the state of a slot is the last to say that it is active, and the first to say that it is not.
 */
async function writeHeader(store: LuksStore, bytes: Uint8Array, order: readonly (0 | 1)[]): Promise<void> {
  for (const sector of order) {
    const at = sector * SECTOR
    await store.write(at, bytes.subarray(at, Math.min(at + SECTOR, bytes.length)))
    await store.flush()
  }
}

/** The slot whose entry lies in two sectors. */
const DIVIDED_SLOT = 6

/** The sectors that hold a slot's entry, the one with its state last. */
const sectorsOf = (index: number): readonly (0 | 1)[] =>
  index < DIVIDED_SLOT ? [0] : index === DIVIDED_SLOT ? [1, 0] : [1]

/**
 * Puts the master key under a passphrase into a slot that is not active. A power cut leaves the slot not active, or whole.
 *
 * @param index of the slot
 * @param iterations of PBKDF2
 * @throws BlockError ENOTSUP for a cipher that no library here has; the error of the file
 */
export async function fillSlot(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  index: number,
  { masterKey, passphrase, iterations }: NewKey,
): Promise<void> {
  const { hash, keyBytes } = header.algorithms
  const salt = fillRandom(new Uint8Array(SALT_BYTES))
  const slotKey = await primitives.pbkdf2(hash, passphrase, salt, iterations, keyBytes)
  const material = await splitKey(primitives, hash, masterKey, STRIPES)
  try {
    cryptMaterial(primitives, header, slotKey, material, 'encrypt')
    await store.write(header.slots[index]!.keyOffset, material)
    await store.flush()
  } finally {
    slotKey.fill(0)
    material.fill(0)
  }
  const bytes = header.bytes.slice()
  setSlot(bytes, index, { salt, iterations })
  await writeHeader(store, bytes, sectorsOf(index))
}

/** A new key for a slot. */
export interface NewKey {
  readonly masterKey: Uint8Array
  readonly passphrase: Uint8Array
  /** Of PBKDF2. */
  readonly iterations: number
}

/**
 * Erases a slot: first it is not active, then its key material is overwritten many times.
 *
 * @param index of the slot
 * @throws the error of the file
 */
export async function eraseSlot(store: LuksStore, header: LuksHeader, index: number): Promise<void> {
  const bytes = header.bytes.slice()
  setSlot(bytes, index)
  await writeHeader(store, bytes, sectorsOf(index).toReversed())
  const { keyOffset, stripes } = header.slots[index]!
  const garbage = new Uint8Array(header.algorithms.keyBytes * stripes)
  for (let pass = 0; pass < ERASE_PASSES; pass++) {
    await store.write(keyOffset, fillRandom(garbage))
    // Else the passes would meet in a cache, and one would reach the disk.
    await store.flush()
  }
}
