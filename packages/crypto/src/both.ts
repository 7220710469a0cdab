/** What both entries export beside their `diskCrypto`: the same names in Node.js and in a page. */
export type { DiskCrypto } from './disk-crypto.ts'
export type { LuksAlgorithms } from './luks/algorithms.ts'
export type { AddKey, EraseKeys } from './luks/change-slots.ts'
export {
  LUKS_HEADER_BYTES,
  type LuksHeader,
  type LuksSlot,
  luksFacts,
  parseLuksHeader,
} from './luks/header.ts'
export type { LuksStore } from './luks/key-slots.ts'
export type { LuksOptions, LuksPlan, LuksVolume } from './luks/volume.ts'
export type { Segment } from './luks2/metadata.ts'
export type { Luks2Facts, Luks2Volume } from './luks2/volume.ts'
export type { HashName } from './platform/primitives.ts'
export type { IvGenerator } from './sectors/initial-vectors.ts'
export type { CipherMode, CipherSpec, SectorCipher } from './sectors/sector-cipher.ts'
