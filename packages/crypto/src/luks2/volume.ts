/** Opening a volume of LUKS version 2, and describing one. Its header is never written. */
import { BlockError } from '@vmblock/block-core/driver'
import type { LuksStore } from '../luks/key-slots.ts'
import type { Primitives } from '../platform/primitives.ts'
import { makeSectorCipher, type SectorCipher } from '../sectors/sector-cipher.ts'
import { type Luks2Header, readLuks2Header } from './header.ts'
import type { Segment } from './metadata.ts'
import { cipherNamed, unlock } from './unlock.ts'

/** The facts of a volume, which need no key. */
export interface Luks2Facts {
  readonly segment: Segment
  /** Bytes of both copies of the header and of the key slots. */
  readonly headerBytes: number
  /** For people: keys in the spelling of `qemu-img info`. */
  readonly facts: Readonly<Record<string, unknown>>
}

/** An open volume. */
export interface Luks2Volume extends Luks2Facts {
  /** Of the data; the first sector has the number {@link Segment.ivTweak}. */
  readonly cipher: SectorCipher
}

/**
 * Describes a volume.
 *
 * @throws BlockError EINVAL if neither copy of its header is whole; ENOTSUP for what it requires; the error of the store
 */
export const describeVolume = async (primitives: Primitives, store: LuksStore): Promise<Luks2Facts> =>
  factsOf(await readLuks2Header(primitives, store))

function factsOf({ uuid, label, subsystem, metadata }: Luks2Header): Luks2Facts {
  const { segment, slots, keysEnd } = metadata
  return {
    segment,
    headerBytes: keysEnd,
    facts: {
      version: 2,
      uuid,
      ...(label !== '' && { label }),
      ...(subsystem !== '' && { subsystem }),
      encryption: segment.encryption,
      'sector-size': segment.sectorSize,
      'payload-offset': segment.offset,
      slots: slots.map(({ id, offset, derivation }) => ({
        keyslot: id,
        'key-offset': offset,
        kdf: derivation.type,
        ...(derivation.type === 'pbkdf2'
          ? { iters: derivation.iterations }
          : { time: derivation.time, memory: derivation.memory, cpus: derivation.cpus }),
      })),
    },
  }
}

/**
 * Opens a volume. It costs what key derivation costs, once for each key slot that the passphrase does not open.
 *
 * @throws BlockError as {@link describeVolume}; EINVAL for a wrong passphrase, and for more time or memory than an opening may
 *   take; ENOTSUP for ciphers, hashes and key derivations that no library here has; ENOMEM
 */
export async function openVolume(
  primitives: Primitives,
  store: LuksStore,
  passphrase: Uint8Array,
): Promise<Luks2Volume> {
  const header = await readLuks2Header(primitives, store)
  const { segment, slots } = header.metadata
  const { encryption, sectorSize } = segment
  if (!slots[0]) throw new BlockError('ENOTSUP', 'LUKS2 volume has no key slot that can be opened here')
  // Before minutes are spent on a key that would be of no use.
  cipherNamed(encryption, slots[0].keyBytes)
  const masterKey = await unlock(primitives, store, header.metadata, passphrase)
  try {
    const spec = { ...cipherNamed(encryption, masterKey.length), sectorSize }
    return { ...factsOf(header), cipher: makeSectorCipher(primitives, spec, masterKey) }
  } finally {
    masterKey.fill(0)
  }
}
