/** Opening a volume, and making one. */
import { BlockError } from '@vmblock/block-core/driver'
import { fillRandom, HASHES, type HashName, type Primitives } from '../platform/primitives.ts'
import type { IvGenerator } from '../sectors/initial-vectors.ts'
import { type CipherMode, makeSectorCipher, type SectorCipher } from '../sectors/sector-cipher.ts'
import {
  CIPHERS,
  HASH_NAMES,
  IV_GENERATORS,
  type LuksAlgorithms,
  MODES,
  requireEssiv,
  usableCipher,
} from './algorithms.ts'
import {
  type LuksHeader,
  newHeaderBytes,
  parseLuksHeader,
  payloadOffsetOf,
  SALT_BYTES,
  setDigest,
} from './header.ts'
import { DEFAULT_ITER_TIME, iterationsIn, MIN_ITERATIONS, pbkdf2Rate, requireBearable } from './iterations.ts'
import { digestOf, fillSlot, type LuksStore, readLuksHeader, unlock } from './key-slots.ts'

/** An open volume. */
export interface LuksVolume {
  readonly header: LuksHeader
  /** Of the data. Sector 0 is the first behind the header in a volume of its own. */
  readonly cipher: SectorCipher
}

/**
 * Opens a volume: costs what PBKDF2 costs, once for each key slot that the passphrase does not open.
 *
 * @throws BlockError EINVAL, in QEMU's words, for a wrong passphrase and a broken header, and for one that asks for more
 *   iterations than would take minutes; ENOTSUP for version 2, and for a cipher that no library here has
 */
export async function openVolume(
  primitives: Primitives,
  store: LuksStore,
  passphrase: Uint8Array,
): Promise<LuksVolume> {
  const header = await readLuksHeader(store)
  requireBearable(header)
  const spec = usableCipher(header.algorithms)
  const masterKey = await unlock(primitives, store, header, passphrase)
  try {
    return { header, cipher: makeSectorCipher(primitives, spec, masterKey) }
  } finally {
    masterKey.fill(0)
  }
}

/** How a volume is made: words as in QEMU's options, with its defaults. */
export interface LuksOptions {
  /** Default: `aes-256`. */
  readonly cipherAlg?: string | undefined
  /** Default: `xts`. */
  readonly cipherMode?: string | undefined
  /** Default: `plain64`. */
  readonly ivgenAlg?: string | undefined
  /** Default: `sha256`, for `essiv`. */
  readonly ivgenHashAlg?: string | undefined
  /** Of the key slots. Default: `sha256`. */
  readonly hashAlg?: string | undefined
  /** Milliseconds that opening a key slot shall take. Default: 2000. */
  readonly iterTime?: number | undefined
  /** The data will be in another file, from its start on. Default: no. */
  readonly detachedHeader?: boolean | undefined
}

/** A volume that is to be made. */
export interface LuksPlan {
  readonly algorithms: LuksAlgorithms
  /** The mode and generator as the header says them. */
  readonly modeText: string
  /** Milliseconds. */
  readonly iterTime: number
  /** Bytes of the header and its key slots: where the data begins, unless it is in another file. */
  readonly payloadOffset: number
  readonly isDetached: boolean
}

/** Ciphers that QEMU knows, but not in a volume. */
const OTHERS = ['des', '3des']

function word<T extends string>(known: readonly T[], given: string, name: string): T {
  if (known.includes(given as T)) return given as T
  throw new BlockError('EINVAL', `Parameter '${name}' does not accept value '${given}'`)
}

/**
 * Checks how a volume is to be made, before anything is.
 *
 * @throws BlockError EINVAL, in QEMU's words, for unknown words, and what does not go together; ENOTSUP, by its name, for a
 *   cipher that no library here has
 */
export function planVolume(options: LuksOptions): LuksPlan {
  if (OTHERS.includes(options.cipherAlg ?? ''))
    throw new BlockError('EINVAL', `Algorithm '${options.cipherAlg}' not supported`)
  const cipher = word(CIPHERS, options.cipherAlg ?? 'aes-256', 'cipher-alg')
  const mode: CipherMode = word(MODES, options.cipherMode ?? 'xts', 'cipher-mode')
  const ivGenerator: IvGenerator = word(IV_GENERATORS, options.ivgenAlg ?? 'plain64', 'ivgen-alg')
  const isEssiv = ivGenerator === 'essiv'
  const namedHash = options.ivgenHashAlg ?? (isEssiv ? 'sha256' : undefined)
  const ivHash = namedHash === undefined ? undefined : word(HASH_NAMES, namedHash, 'ivgen-hash-alg')
  const hash: HashName = word(HASH_NAMES, options.hashAlg ?? 'sha256', 'hash-alg')
  const { iterTime = DEFAULT_ITER_TIME, detachedHeader: isDetached = false } = options
  const [family = '', bits] = cipher.split('-')
  if (isEssiv) requireEssiv(family, ivHash!)
  const keyBytes = (Number(bits) / 8) * (mode === 'xts' ? 2 : 1)
  const algorithms = { cipher, mode, ivGenerator, ivHash: isEssiv ? ivHash : undefined, hash, keyBytes }
  usableCipher(algorithms)
  // A hash that the generator does not use is kept, as in QEMU.
  const modeText = `${mode}-${ivGenerator}${ivHash === undefined ? '' : `:${ivHash}`}`
  return { algorithms, modeText, iterTime, payloadOffset: payloadOffsetOf(keyBytes), isDetached }
}

/**
 * Makes a volume: header and key slots, with a new key that the passphrase opens. The caller has zeroed the place.
 *
 * @throws BlockError EINVAL for more iterations than a header can ask for, or would take minutes; the error of the file
 */
export async function formatVolume(
  primitives: Primitives,
  store: LuksStore,
  { algorithms, modeText, iterTime, isDetached }: LuksPlan,
  passphrase: Uint8Array,
): Promise<void> {
  const { cipher, hash, keyBytes } = algorithms
  const rate = await pbkdf2Rate(primitives, hash, iterTime)
  const [cipherName = ''] = cipher.split('-')
  const bytes = newHeaderBytes({
    cipherName,
    cipherMode: modeText,
    hash,
    keyBytes,
    uuid: crypto.randomUUID(),
    isDetached,
  })
  const masterKey = fillRandom(new Uint8Array(keyBytes))
  try {
    const salt = fillRandom(new Uint8Array(SALT_BYTES))
    // An eighth of the time of a key slot: it is computed for each slot that is tried. As cryptsetup and QEMU do.
    const digestIterations = Math.max(
      MIN_ITERATIONS,
      Math.floor(iterationsIn(rate, hash, HASHES[hash], iterTime) / 8),
    )
    setDigest(bytes, new Uint8Array(0), salt, digestIterations)
    const blank = parseLuksHeader(bytes, isDetached)
    setDigest(bytes, await digestOf(primitives, blank, masterKey), salt, digestIterations)
    const iterations = iterationsIn(rate, hash, keyBytes, iterTime)
    await fillSlot(primitives, wholeHeader(store, bytes), blank, 0, { masterKey, passphrase, iterations })
  } finally {
    masterKey.fill(0)
  }
}

/** A store in which the first write of the header's first sector brings the second along: there was none before. */
function wholeHeader(store: LuksStore, bytes: Uint8Array): LuksStore {
  return {
    ...store,
    read: (offset, into) => store.read(offset, into),
    flush: () => store.flush(),
    async write(offset, from) {
      if (offset === 0) await store.write(from.length, bytes.subarray(from.length))
      await store.write(offset, from)
    },
  }
}
