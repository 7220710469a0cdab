/** The initial vectors of sectors, from their numbers, as dm-crypt and QEMU make them. */
import { viewOf } from '@vmblock/block-core/driver'
import type { BlockCipher, HashName, Primitives } from '../platform/primitives.ts'

/** How sector numbers become initial vectors. */
export type IvGenerator = 'plain' | 'plain64' | 'essiv'

/** Bytes of an initial vector, and of a block of AES. */
export const BLOCK = 16

/** Makes the initial vectors of consecutive sectors. */
export interface InitialVectors {
  /**
   * Writes one vector after the other.
   *
   * @param sector number of the first one
   * @param into whole vectors
   * @param step by how much the number grows from one to the next
   */
  fill(sector: number, into: Uint8Array, step: number): void
  /** Forgets the key. */
  close(): void
}

/**
 * The vectors of a generator.
 *
 * @param key of the data, from which essiv derives its own
 * @param hash for essiv; its digest must be as long as a key of AES
 */
export function initialVectors(
  primitives: Primitives,
  generator: IvGenerator,
  key: Uint8Array,
  hash: HashName | undefined,
): InitialVectors {
  if (generator !== 'essiv' || hash === undefined)
    return {
      fill: (sector, into, step) => number(sector, into, step, generator === 'plain64'),
      close: () => undefined,
    }
  const own = primitives.hash(hash, key)
  const cipher: BlockCipher = primitives.blockCipher(own)
  own.fill(0)
  return {
    fill(sector, into, step) {
      number(sector, into, step, true)
      into.set(cipher.encrypt(into))
    },
    close: () => cipher.close(),
  }
}

/** Little-endian numbers; without `isWide` they wrap around at 2^32, as in dm-crypt. */
function number(first: number, into: Uint8Array, step: number, isWide: boolean): void {
  const view = viewOf(into)
  into.fill(0)
  for (let at = 0, sector = first; at < into.length; at += BLOCK, sector += step) {
    view.setUint32(at, sector % 2 ** 32, true)
    if (isWide) view.setUint32(at + 4, Math.floor(sector / 2 ** 32), true)
  }
}
