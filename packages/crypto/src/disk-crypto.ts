/** The interface of this package, and how it is made of what a platform has. */
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
   *   iterations than anybody would wait for; ENOTSUP for version 2, and for ciphers that no library here has; the error of
   *   the store
   */
  openLuks(store: LuksStore, passphrase: Uint8Array): Promise<LuksVolume>
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
   * @throws BlockError EINVAL for more iterations than a header can ask for, or anybody would wait for; the error of the
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

/** Encryption by a platform's primitives. */
export const diskCryptoOf = (primitives: Primitives): DiskCrypto => ({
  sectorCipher: (spec, key) => makeSectorCipher(primitives, spec, key),
  decryptCbc: (key, iv, data) => decryptCbc(primitives, key, iv, data),
  openLuks: (store, passphrase) => openVolume(primitives, store, passphrase),
  planLuks: planVolume,
  formatLuks: (store, plan, passphrase) => formatVolume(primitives, store, plan, passphrase),
  addLuksKey: (store, key) => addKey(primitives, store, key),
  eraseLuksKeys: (store, keys) => eraseKeys(primitives, store, keys),
})
