/** Adding and erasing keys of a volume: what QEMU's amend does, in its words. A passphrase that opens it never gets lost on the way. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Primitives } from '../platform/primitives.ts'
import { type LuksHeader, SLOTS } from './header.ts'
import { DEFAULT_ITER_TIME, iterationsIn, pbkdf2Rate, requireBearable } from './iterations.ts'
import {
  eraseSlot,
  fillSlot,
  type LuksStore,
  type NewKey,
  readLuksHeader,
  unlock,
  unlockSlot,
} from './key-slots.ts'

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** A key that is added. */
export interface AddKey {
  /** One that opens the volume already. */
  readonly passphrase: Uint8Array
  readonly newPassphrase: Uint8Array
  /** 0 to 7; default: the first that is free. */
  readonly slot?: number | undefined
  /** Milliseconds that opening it shall take. Default: 2000. */
  readonly iterTime?: number | undefined
  /** Also replace a key: that slot then opens with the new passphrase alone. Default: no. */
  readonly force?: boolean | undefined
}

/** Keys that are erased. At least one of `slot` and `oldPassphrase` is given. */
export interface EraseKeys {
  /** 0 to 7. */
  readonly slot?: number | undefined
  /** The slots that it opens; with `slot`, it has to open that one. */
  readonly oldPassphrase?: Uint8Array | undefined
  /** Also erase the last keys: then nothing opens the volume again. Default: no. */
  readonly force?: boolean | undefined
}

function requireSlot(slot: number): void {
  if (slot < 0 || slot >= SLOTS)
    throw invalid(`Invalid keyslot ${slot} specified, must be between 0 and ${SLOTS - 1}`)
}

/**
 * Adds a key.
 *
 * @throws BlockError EINVAL, in QEMU's words, for a slot that is in use or does not exist, if none is free, and for a wrong
 *   passphrase; ENOTSUP for a cipher that no library here has; the error of the file
 */
export async function addKey(
  primitives: Primitives,
  store: LuksStore,
  { passphrase, newPassphrase, slot, iterTime = DEFAULT_ITER_TIME, force = false }: AddKey,
): Promise<void> {
  const header = await readLuksHeader(store)
  requireBearable(header)
  if (slot !== undefined) requireSlot(slot)
  const index = slot ?? freeSlot(header)
  if (index < 0) throw invalid("Can't add a keyslot - all keyslots are in use")
  const isActive = header.slots[index]!.isActive
  if (isActive && !force)
    throw invalid(`Refusing to overwrite active keyslot ${index} - please erase it first`)
  const masterKey = await unlock(primitives, store, header, passphrase)
  try {
    const { hash, keyBytes } = header.algorithms
    const iterations = iterationsIn(await pbkdf2Rate(primitives, hash, iterTime), hash, keyBytes, iterTime)
    const key = { masterKey, passphrase: newPassphrase, iterations }
    if (isActive) await replaceKey(primitives, store, header, index, key)
    else await fillSlot(primitives, store, header, index, key)
  } finally {
    masterKey.fill(0)
  }
}

const freeSlot = ({ slots }: LuksHeader): number => slots.findIndex(({ isActive }) => !isActive)

/** Replaces a key. Meanwhile another slot holds the new one, if any is free; else seven others still open the volume. */
async function replaceKey(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  index: number,
  key: NewKey,
): Promise<void> {
  const spare = freeSlot(header)
  if (spare >= 0) await fillSlot(primitives, store, header, spare, key)
  await eraseSlot(store, await readLuksHeader(store), index)
  await fillSlot(primitives, store, await readLuksHeader(store), index, key)
  if (spare >= 0) await eraseSlot(store, await readLuksHeader(store), spare)
}

/**
 * Erases keys.
 *
 * @throws BlockError EINVAL, in QEMU's words, if nothing is to be erased, or no key would be left; ENOTSUP for a cipher
 *   that no library here has; the error of the file
 */
export async function eraseKeys(
  primitives: Primitives,
  store: LuksStore,
  { slot, oldPassphrase, force = false }: EraseKeys,
): Promise<void> {
  if (slot === undefined && oldPassphrase === undefined)
    throw invalid(
      'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given',
    )
  const header = await readLuksHeader(store)
  requireBearable(header)
  const active = header.slots.filter(({ isActive }) => isActive).length
  const erased =
    slot === undefined
      ? await matching(primitives, store, header, oldPassphrase!)
      : [await theSlot(primitives, store, header, slot, oldPassphrase, force)]
  if (erased.length === active && !force && slot !== undefined)
    throw invalid(
      `Attempt to erase the only active keyslot ${slot} which will erase all the data in the image irreversibly - refusing operation`,
    )
  if (erased.length === active && !force)
    throw invalid(
      'All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation',
    )
  for (const index of erased) await eraseSlot(store, await readLuksHeader(store), index)
}

async function theSlot(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  slot: number,
  oldPassphrase: Uint8Array | undefined,
  force: boolean,
): Promise<number> {
  requireSlot(slot)
  if (oldPassphrase && !(await opens(primitives, store, header, slot, oldPassphrase)))
    throw invalid(`Given keyslot ${slot} doesn't contain the given old password for erase operation`)
  if (!force && !header.slots[slot]!.isActive)
    throw invalid(`Given keyslot ${slot} is already erased (inactive) `)
  return slot
}

async function matching(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  passphrase: Uint8Array,
): Promise<number[]> {
  const found: number[] = []
  for (const index of header.slots.keys())
    if (await opens(primitives, store, header, index, passphrase)) found.push(index)
  if (found.length === 0) throw invalid('No keyslots match given (old) password for erase operation')
  return found
}

async function opens(
  primitives: Primitives,
  store: LuksStore,
  header: LuksHeader,
  index: number,
  passphrase: Uint8Array,
): Promise<boolean> {
  const masterKey = await unlockSlot(primitives, store, header, index, passphrase)
  masterKey?.fill(0)
  return masterKey !== undefined
}
