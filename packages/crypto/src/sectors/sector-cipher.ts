/**
 * A cipher for sectors, of 512 bytes unless more are asked for. All modes are made of AES block by block, in pieces of many sectors: in Node.js, a
 * context of OpenSSL for each sector would cost four times as much as all the rest.
 */
import { BlockError, SECTOR } from '@vmblock/block-core/driver'
import type { BlockCipher, HashName, Primitives } from '../platform/primitives.ts'
import { BLOCK, type InitialVectors, type IvGenerator, initialVectors } from './initial-vectors.ts'
import { fillCounters, fillTweaks, mix } from './masks.ts'

/** How the blocks of a sector depend on its number and on each other. */
export type CipherMode = 'xts' | 'cbc' | 'ctr' | 'ecb'

/** A cipher without its key: AES, whose variant the length of the key says. */
export interface CipherSpec {
  readonly mode: CipherMode
  readonly ivGenerator: IvGenerator
  /** For `essiv` only. */
  readonly ivHash?: HashName | undefined
  /** Bytes that are encrypted together: 512, 1024, 2048 or 4096. Default: 512. Numbers of sectors count 512 bytes all the same. */
  readonly sectorSize?: number | undefined
}

/** An algorithm at work on whole sectors. Both methods work at once: callers cut long requests. */
export interface SectorCipher {
  /**
   * Encrypts sectors.
   *
   * @param sector number of the first one, in units of 512 bytes, whatever the size of a sector
   * @param from whole sectors
   * @param into as many bytes; may be `from`
   */
  encrypt(sector: number, from: Uint8Array, into: Uint8Array): void
  /** Decrypts sectors; as {@link encrypt}. */
  decrypt(sector: number, from: Uint8Array, into: Uint8Array): void
  /** Overwrites keys and what is left of plain data. Afterwards, requests fail. */
  close(): void
}

/** Bytes that are worked on at once: their masks stay in the processor's caches. */
const PIECE = 65536
/** The most vectors that a piece has. */
const MOST_IVS = PIECE / SECTOR

/** Bytes of a key for the mode: XTS has two in one. @throws BlockError EINVAL for keys of other lengths */
function splitKey(
  mode: CipherMode,
  key: Uint8Array,
): readonly [data: Uint8Array, tweak: Uint8Array | undefined] {
  if (mode === 'xts' && key.length % 2 !== 0)
    throw new BlockError('EINVAL', 'XTS cipher key length should be a multiple of 2')
  const half = key.length / 2
  const [data, tweak] = mode === 'xts' ? [key.subarray(0, half), key.subarray(half)] : [key, undefined]
  if (![16, 24, 32].includes(data.length))
    throw new BlockError('EINVAL', `Algorithm 'aes' with key size ${data.length} bytes not supported`)
  return [data, tweak]
}

/**
 * Makes a cipher.
 *
 * @param key a key of AES, or two of them for XTS; the caller may overwrite its array afterwards
 * @throws BlockError EINVAL for a key of another length
 */
export function makeSectorCipher(primitives: Primitives, spec: CipherSpec, key: Uint8Array): SectorCipher {
  const [dataKey, tweakKey] = splitKey(spec.mode, key)
  return new AesSectors(
    spec.mode,
    spec.sectorSize ?? SECTOR,
    primitives.blockCipher(dataKey),
    tweakKey && primitives.blockCipher(tweakKey),
    initialVectors(primitives, spec.ivGenerator, key, spec.ivHash),
  )
}

class AesSectors implements SectorCipher {
  readonly #mode: CipherMode
  readonly #data: BlockCipher
  readonly #tweak: BlockCipher | undefined
  readonly #vectors: InitialVectors
  readonly #sectorSize: number
  readonly #ivs = new Uint8Array(MOST_IVS * BLOCK)
  readonly #lane = new Uint8Array(MOST_IVS * BLOCK)
  readonly #masks = new Uint8Array(PIECE)
  readonly #work = new Uint8Array(PIECE)
  #isClosed = false

  constructor(
    mode: CipherMode,
    sectorSize: number,
    data: BlockCipher,
    tweak: BlockCipher | undefined,
    vectors: InitialVectors,
  ) {
    this.#mode = mode
    this.#sectorSize = sectorSize
    this.#data = data
    this.#tweak = tweak
    this.#vectors = vectors
  }

  encrypt(sector: number, from: Uint8Array, into: Uint8Array): void {
    this.#inPieces(sector, from, into, true)
  }

  decrypt(sector: number, from: Uint8Array, into: Uint8Array): void {
    this.#inPieces(sector, from, into, false)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#data.close()
    this.#tweak?.close()
    this.#vectors.close()
    for (const kept of [this.#ivs, this.#lane, this.#masks, this.#work]) kept.fill(0)
  }

  #inPieces(sector: number, from: Uint8Array, into: Uint8Array, encrypts: boolean): void {
    if (this.#isClosed) throw new BlockError('EIO', 'The keys of the disk were forgotten when it was closed')
    const size = this.#sectorSize
    for (let at = 0; at < from.length; at += PIECE) {
      const part = from.subarray(at, at + PIECE)
      const ivs = this.#ivs.subarray(0, (part.length / size) * BLOCK)
      if (this.#mode !== 'ecb') this.#vectors.fill(sector + at / SECTOR, ivs, size / SECTOR)
      const work = this.#work.subarray(0, part.length)
      this.#through(part, ivs, work, encrypts)
      into.set(work, at)
    }
  }

  /** One piece, into `work`. */
  #through(from: Uint8Array, ivs: Uint8Array, work: Uint8Array, encrypts: boolean): void {
    const size = this.#sectorSize
    const masks = this.#masks.subarray(0, work.length)
    const blocks = (input: Uint8Array): Uint8Array =>
      encrypts ? this.#data.encrypt(input) : this.#data.decrypt(input)
    switch (this.#mode) {
      case 'xts':
        fillTweaks(this.#tweak!.encrypt(ivs), masks, size)
        work.set(from)
        mix(work, masks)
        work.set(blocks(work))
        mix(work, masks)
        return
      case 'cbc':
        if (encrypts) this.#chain(from, ivs, work)
        else {
          work.set(blocks(from))
          // Each block is mixed with the encrypted one before it.
          for (let at = 0; at < work.length; at += size) {
            masks.set(ivs.subarray((at / size) * BLOCK, (at / size + 1) * BLOCK), at)
            masks.set(from.subarray(at, at + size - BLOCK), at + BLOCK)
          }
          mix(work, masks)
        }
        return
      case 'ctr':
        fillCounters(ivs, masks, size)
        work.set(this.#data.encrypt(masks))
        masks.set(from)
        mix(work, masks)
        return
      case 'ecb':
        work.set(blocks(from))
    }
  }

  /** CBC encrypts block after block, but sectors do not depend on each other: all are at the same block at a time. */
  #chain(from: Uint8Array, ivs: Uint8Array, work: Uint8Array): void {
    const size = this.#sectorSize
    const sectors = from.length / size
    const lane = this.#lane.subarray(0, ivs.length)
    let before = ivs
    for (let block = 0; block < size / BLOCK; block++) {
      for (let i = 0; i < sectors; i++) {
        const at = i * size + block * BLOCK
        for (let j = 0; j < BLOCK; j++) lane[i * BLOCK + j] = from[at + j]! ^ before[i * BLOCK + j]!
      }
      before = this.#data.encrypt(lane)
      for (let i = 0; i < sectors; i++)
        work.set(before.subarray(i * BLOCK, (i + 1) * BLOCK), i * size + block * BLOCK)
    }
  }
}
