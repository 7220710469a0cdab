/** The interface of this package, and how it is made of what a platform has. */
import { loadOnce } from '@vmblock/block-core/driver'
import { type AddKey, addKey, type EraseKeys, eraseKeys } from './luks/change-slots.ts'
import type { LuksStore } from './luks/key-slots.ts'
import {
  formatVolume,
  type LuksOptions,
  type LuksPlan,
  type LuksVolume,
  openVolume,
  planVolume,
} from './luks/volume.ts'
import type { Luks2Facts, Luks2Volume } from './luks2/volume.ts'
import type { Primitives } from './platform/primitives.ts'
import { decryptCbc } from './sectors/cbc.ts'
import { type CipherSpec, makeSectorCipher, type SectorCipher } from './sectors/sector-cipher.ts'

/** Encryption of disks. What it is given, it does not keep: callers may overwrite keys and passphrases afterwards. */
export interface DiskCrypto {
  /**
   * A cipher with its key.
   *
   * @param key 16, 24 or 32 bytes; twice as many for XTS
   * @throws BlockError EINVAL for a key of another length
   */
  sectorCipher(spec: CipherSpec, key: Uint8Array): SectorCipher
  /**
   * Decrypts AES-CBC over whole blocks; padding is left as it is.
   *
   * @param key 16, 24 or 32 bytes
   * @param iv 16 bytes
   * @throws BlockError EINVAL for lengths that do not fit
   */
  decryptCbc(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array
  /**
   * Opens a LUKS volume. It costs what PBKDF2 costs, once for each key slot that the passphrase does not open.
   *
   * @throws BlockError EINVAL, in QEMU's words, for a wrong passphrase and a broken header, and for one that asks for more
   *   iterations than would take minutes; ENOTSUP for version 2, and for ciphers that no library here has; the error of
   *   the store
   */
  openLuks(store: LuksStore, passphrase: Uint8Array): Promise<LuksVolume>
  /**
   * Opens a volume of LUKS version 2. It costs what PBKDF2 or Argon2 costs, once for each key slot that the passphrase does
   * not open; Argon2 takes the memory that the slot asks for.
   *
   * @throws BlockError EINVAL for a wrong passphrase, a header of which neither copy is whole, and one that asks for more time
   *   or memory than an opening may take; ENOTSUP, by its name, for what is required and not done here, and for ciphers and
   *   hashes that no library here has; ENOMEM; EIO if the code for it cannot be loaded; the error of the store
   */
  openLuks2(store: LuksStore, passphrase: Uint8Array): Promise<Luks2Volume>
  /**
   * Describes a volume of LUKS version 2, which needs no key.
   *
   * @throws BlockError as {@link openLuks2}
   */
  describeLuks2(store: LuksStore): Promise<Luks2Facts>
  /**
   * Checks how a volume is to be made.
   *
   * @throws BlockError EINVAL, in QEMU's words, for unknown words, and what does not go together; ENOTSUP for ciphers that
   *   no library here has
   */
  planLuks(options: LuksOptions): LuksPlan
  /**
   * Makes a volume: its header and key slots, with a new key that the passphrase opens. The caller has zeroed their place.
   *
   * @throws BlockError EINVAL for more iterations than a header can ask for, or would take minutes; the error of the
   *   store
   */
  formatLuks(store: LuksStore, plan: LuksPlan, passphrase: Uint8Array): Promise<void>
  /**
   * Adds a key to a volume. A power cut leaves it with the old keys, or with all of them.
   *
   * @throws BlockError EINVAL, in QEMU's words; ENOTSUP; the error of the store
   */
  addLuksKey(store: LuksStore, key: AddKey): Promise<void>
  /**
   * Erases keys of a volume, and overwrites them many times.
   *
   * @throws BlockError EINVAL, in QEMU's words; ENOTSUP; the error of the store
   */
  eraseLuksKeys(store: LuksStore, keys: EraseKeys): Promise<void>
}

/** @throws BlockError EIO if the code cannot be loaded */
const loadLuks2 = loadOnce('LUKS version 2', () => import('./luks2/volume.ts'))

/** Encryption by a platform's primitives. */
export const diskCryptoOf = (primitives: Primitives): DiskCrypto => ({
  sectorCipher: (spec, key) => makeSectorCipher(primitives, spec, key),
  decryptCbc: (key, iv, data) => decryptCbc(primitives, key, iv, data),
  openLuks: (store, passphrase) => openVolume(primitives, store, passphrase),
  openLuks2: async (store, passphrase) => (await loadLuks2()).openVolume(primitives, store, passphrase),
  describeLuks2: async (store) => (await loadLuks2()).describeVolume(primitives, store),
  planLuks: planVolume,
  formatLuks: (store, plan, passphrase) => formatVolume(primitives, store, plan, passphrase),
  addLuksKey: (store, key) => addKey(primitives, store, key),
  eraseLuksKeys: (store, keys) => eraseKeys(primitives, store, keys),
})
