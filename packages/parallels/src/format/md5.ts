/** MD5 (RFC 1321): the check sum of a format extension. It protects against accidents alone. */
import { alignUp, viewOf } from '@vmblock/block-core/driver'

const BLOCK = 64
/** How far each of the 64 steps rotates: four numbers for each of four rounds. */
const ROTATIONS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
] as const
const SINES = Array.from({ length: 64 }, (_, step) => Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32) | 0)

/** The digest of `data`: 16 bytes. */
export function md5(data: Uint8Array): Uint8Array {
  const state = new Int32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476])
  const whole = data.length - (data.length % BLOCK)
  const words = viewOf(data)
  for (let at = 0; at < whole; at += BLOCK) digestBlock(state, words, at)
  const rest = data.subarray(whole)
  // One bit behind the data, zeroes, and the length in bits.
  const tail = new Uint8Array(alignUp(rest.length + 9, BLOCK))
  tail.set(rest)
  tail[rest.length] = 0x80
  const view = viewOf(tail)
  view.setBigUint64(tail.length - 8, BigInt(data.length) * 8n, true)
  for (let at = 0; at < tail.length; at += BLOCK) digestBlock(state, view, at)
  const digest = new Uint8Array(16)
  for (const [index, word] of state.entries()) viewOf(digest).setInt32(index * 4, word, true)
  return digest
}

function digestBlock(state: Int32Array, words: DataView, at: number): void {
  let [a, b, c, d] = state as unknown as [number, number, number, number]
  for (let step = 0; step < 64; step++) {
    const round = step >> 4
    let mixed: number
    let word: number
    if (round === 0) [mixed, word] = [(b & c) | (~b & d), step]
    else if (round === 1) [mixed, word] = [(d & b) | (~d & c), (5 * step + 1) % 16]
    else if (round === 2) [mixed, word] = [b ^ c ^ d, (3 * step + 5) % 16]
    else [mixed, word] = [c ^ (b | ~d), (7 * step) % 16]
    const sum = (a + mixed + SINES[step]! + words.getInt32(at + word * 4, true)) | 0
    const left = ROTATIONS[round]![step % 4]!
    a = d
    d = c
    c = b
    b = (b + ((sum << left) | (sum >>> (32 - left)))) | 0
  }
  state[0]! += a
  state[1]! += b
  state[2]! += c
  state[3]! += d
}
