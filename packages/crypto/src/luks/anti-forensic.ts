/**
 * The anti-forensic splitter of LUKS: a key is spread over so many bytes that it is gone when any of them is, and some are,
 * even where a disk keeps old copies of sectors.
 */
import { pause, viewOf } from '@vmblock/block-core/driver'
import { fillRandom, HASHES, type HashName, type Primitives } from '../platform/primitives.ts'

/** Hashes each piece of `block`, in place, with its number before it; the last piece may be short. */
function diffuse(primitives: Primitives, hash: HashName, block: Uint8Array): void {
  const digestBytes = HASHES[hash]
  for (let at = 0, index = 0; at < block.length; at += digestBytes, index++) {
    const piece = block.subarray(at, at + digestBytes)
    const numbered = new Uint8Array(4 + piece.length)
    viewOf(numbered).setUint32(0, index)
    numbered.set(piece, 4)
    piece.set(primitives.hash(hash, numbered).subarray(0, piece.length))
  }
}

function mixIn(block: Uint8Array, stripe: Uint8Array): void {
  for (let i = 0; i < block.length; i++) block[i]! ^= stripe[i]!
}

/** All stripes but the last, mixed and diffused. */
async function foldStripes(
  primitives: Primitives,
  hash: HashName,
  split: Uint8Array,
  keyBytes: number,
): Promise<Uint8Array> {
  const block = new Uint8Array(keyBytes)
  const last = split.length - keyBytes
  for (let at = 0; at < last; at += keyBytes) {
    mixIn(block, split.subarray(at, at + keyBytes))
    diffuse(primitives, hash, block)
    const turn = pause()
    if (turn) await turn
  }
  return block
}

/**
 * Spreads a key.
 *
 * @param stripes how many times its length the result has
 */
export async function splitKey(
  primitives: Primitives,
  hash: HashName,
  key: Uint8Array,
  stripes: number,
): Promise<Uint8Array> {
  const split = fillRandom(new Uint8Array(key.length * stripes))
  const block = await foldStripes(primitives, hash, split, key.length)
  mixIn(block, key)
  split.set(block, split.length - key.length)
  return split
}

/** The key that {@link splitKey} has spread. @param keyBytes bytes of the key */
export async function mergeKey(
  primitives: Primitives,
  hash: HashName,
  split: Uint8Array,
  keyBytes: number,
): Promise<Uint8Array> {
  const block = await foldStripes(primitives, hash, split, keyBytes)
  mixIn(block, split.subarray(split.length - keyBytes))
  return block
}
