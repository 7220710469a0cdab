/** The algorithms that a LUKS header names, judged in QEMU's order and words. */
import { BlockError } from '@vmblock/block-core/driver'
import { HASHES, type HashName } from '../platform/primitives.ts'
import type { IvGenerator } from '../sectors/initial-vectors.ts'
import type { CipherMode, CipherSpec } from '../sectors/sector-cipher.ts'

/** The algorithms of a volume. */
export interface LuksAlgorithms {
  /** `aes-256`: the cipher and the bits of its key, of which XTS has two. */
  readonly cipher: string
  readonly mode: CipherMode
  readonly ivGenerator: IvGenerator
  /** Only of `essiv`. */
  readonly ivHash: HashName | undefined
  /** Of the key slots. */
  readonly hash: HashName
  /** Bytes of the master key. */
  readonly keyBytes: number
}

/** Key sizes of the ciphers that QEMU knows, in bytes. */
const KEY_BYTES: Readonly<Record<string, readonly number[]>> = {
  aes: [16, 24, 32],
  cast5: [16],
  serpent: [16, 24, 32],
  twofish: [16, 24, 32],
}
/** Ciphers with blocks of 16 bytes, which XTS needs. */
const WIDE = ['aes', 'serpent', 'twofish']

/** The words that headers have, and that options accept. */
export const CIPHERS = Object.entries(KEY_BYTES).flatMap(([name, sizes]) =>
  sizes.map((bytes) => `${name}-${bytes * 8}`),
)
/** See {@link CIPHERS}. */
export const MODES: readonly CipherMode[] = ['ecb', 'cbc', 'xts', 'ctr']
/** See {@link CIPHERS}. */
export const IV_GENERATORS: readonly IvGenerator[] = ['plain', 'plain64', 'essiv']
/** See {@link CIPHERS}. */
export const HASH_NAMES = Object.keys(HASHES) as HashName[]

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

function oneOf<T extends string>(known: readonly T[], name: string, what: string): T {
  if (!known.includes(name as T)) throw invalid(`${what} '${name}' not supported`)
  return name as T
}

/** What a header says of its algorithms. */
export interface AlgorithmFields {
  readonly cipher: string
  /** `xts-plain64`, `cbc-essiv:sha256`: the mode, the generator of initial vectors, and its hash. */
  readonly cipherMode: string
  readonly hash: string
  /** Bytes of the master key. */
  readonly keyBytes: number
}

/** Reads the fields. @throws BlockError EINVAL for what QEMU would not open either */
export function parseAlgorithms({ cipher, cipherMode, hash, keyBytes }: AlgorithmFields): LuksAlgorithms {
  const dash = cipherMode.indexOf('-')
  if (dash < 0) throw invalid(`Unexpected cipher mode string format '${cipherMode}'`)
  const mode = oneOf(MODES, cipherMode.slice(0, dash), 'Cipher mode')
  const [generator = '', ...hashes] = cipherMode.slice(dash + 1).split(':')
  const ivHash = hashes.length > 0 ? hashes.join(':') : undefined
  // Two keys in one; an odd byte is dropped, as in QEMU.
  const effective = mode === 'xts' ? Math.floor(keyBytes / 2) : keyBytes
  if (!Object.hasOwn(KEY_BYTES, cipher) || !KEY_BYTES[cipher]!.includes(effective))
    throw invalid(`Algorithm '${cipher}' with key size ${effective} bytes not supported`)
  const hashAlg = oneOf(HASH_NAMES, hash, 'Hash algorithm')
  const ivGenerator = oneOf(IV_GENERATORS, generator, 'IV generator')
  if (ivGenerator === 'essiv' && ivHash === undefined)
    throw invalid('Missing IV generator hash specification')
  const ivHashAlg = ivHash === undefined ? undefined : oneOf(HASH_NAMES, ivHash, 'Hash algorithm')
  if (ivGenerator === 'essiv') requireEssiv(cipher, ivHashAlg!)
  return {
    cipher: `${cipher}-${effective * 8}`,
    mode,
    ivGenerator,
    ivHash: ivGenerator === 'essiv' ? ivHashAlg : undefined,
    hash: hashAlg,
    keyBytes,
  }
}

const TITLES: Readonly<Record<string, string>> = { aes: 'AES', serpent: 'Serpent', twofish: 'Twofish' }

/** The digest is the key that essiv encrypts sector numbers with. @throws BlockError EINVAL */
export function requireEssiv(cipher: string, hash: HashName): void {
  const title = TITLES[cipher]
  if (title === undefined) throw invalid(`Algorithm '${cipher}' not supported`)
  if (!KEY_BYTES[cipher]!.includes(HASHES[hash]))
    throw invalid(`No ${title} cipher with key size ${HASHES[hash]} available`)
}

/**
 * The cipher of a volume, for its data and for its key slots.
 *
 * @throws BlockError ENOTSUP, by its name, for one that no library here has; EINVAL for a mode that it cannot have
 */
export function usableCipher({ cipher, mode, ivGenerator, ivHash, keyBytes }: LuksAlgorithms): CipherSpec {
  const [family = ''] = cipher.split('-')
  if (mode === 'xts' && !WIDE.includes(family)) throw invalid('Unsupported cipher mode xts')
  if (family !== 'aes') throw new BlockError('ENOTSUP', `Algorithm '${cipher}' not supported`)
  // QEMU ends there: half a sector would be left of the key material.
  if (mode !== 'xts' && keyBytes === 24)
    throw new BlockError('ENOTSUP', `Algorithm '${cipher}' with cipher mode '${mode}' not supported`)
  return { mode, ivGenerator, ivHash }
}
