/** Ciphers against OpenSSL's own modes, sector by sector, and against published vectors; with what either platform has. */
import { createCipheriv, createHash } from 'node:crypto'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { browserPrimitives } from '../platform/browser.ts'
import { nodePrimitives } from '../platform/node-js.ts'
import { decryptCbc } from './cbc.ts'
import { type CipherMode, type CipherSpec, makeSectorCipher } from './sector-cipher.ts'

const SECTOR = 512
const PLATFORMS = [
  ['OpenSSL', nodePrimitives],
  ['pages', browserPrimitives],
] as const

/** The vector of a sector, written down once more. */
function vectorOf({ ivGenerator, ivHash }: CipherSpec, key: Uint8Array, sector: number): Buffer {
  const vector = Buffer.alloc(16)
  if (ivGenerator === 'plain') vector.writeUInt32LE(sector % 2 ** 32)
  else vector.writeBigUInt64LE(BigInt(sector))
  if (ivGenerator !== 'essiv') return vector
  const hashed = createHash(ivHash!).update(key).digest()
  return createCipheriv(`aes-${hashed.length * 8}-ecb`, hashed, null)
    .setAutoPadding(false)
    .update(vector)
}

function byOpenSsl(spec: CipherSpec, key: Uint8Array, sector: number, plain: Uint8Array): Buffer {
  const bits = (key.length * 8) / (spec.mode === 'xts' ? 2 : 1)
  const parts: Buffer[] = []
  for (let at = 0; at < plain.length; at += SECTOR) {
    const iv = spec.mode === 'ecb' ? null : vectorOf(spec, key, sector + at / SECTOR)
    const cipher = createCipheriv(`aes-${bits}-${spec.mode}`, key, iv).setAutoPadding(false)
    parts.push(cipher.update(plain.subarray(at, at + SECTOR)))
  }
  return Buffer.concat(parts)
}

const SPECS: readonly (readonly [CipherSpec, number])[] = [
  [{ mode: 'xts', ivGenerator: 'plain64' }, 64],
  [{ mode: 'xts', ivGenerator: 'plain' }, 32],
  [{ mode: 'xts', ivGenerator: 'essiv', ivHash: 'sha256' }, 64],
  [{ mode: 'cbc', ivGenerator: 'plain64' }, 16],
  [{ mode: 'cbc', ivGenerator: 'essiv', ivHash: 'sha256' }, 32],
  [{ mode: 'cbc', ivGenerator: 'essiv', ivHash: 'md5' }, 24],
  [{ mode: 'ctr', ivGenerator: 'plain64' }, 32],
  [{ mode: 'ecb', ivGenerator: 'plain' }, 24],
]

describe.each(PLATFORMS)('with the primitives of %s', (_, primitives) => {
  it.each(SPECS)('%o with a key of %i bytes gives the bytes of OpenSSL', (spec, keyBytes) => {
    const random = createRandom(keyBytes)
    const key = random.bytes(keyBytes)
    const cipher = makeSectorCipher(primitives, spec, key)
    // Several pieces, an odd number of sectors, and a number beyond 32 bits on the way.
    for (const [sector, sectors] of [
      [0, 1],
      [2 ** 32 - 150, 301],
      [2 ** 43 + 5, 7],
    ] as const) {
      const plain = random.bytes(sectors * SECTOR)
      const into = new Uint8Array(plain.length)
      cipher.encrypt(sector, plain, into)
      expect(Buffer.compare(into, byOpenSsl(spec, key, sector, plain))).toBe(0)
      cipher.decrypt(sector, into, into)
      expect(Buffer.compare(into, plain)).toBe(0)
      cipher.encrypt(sector, into, into)
      expect(Buffer.compare(into, byOpenSsl(spec, key, sector, plain))).toBe(0)
    }
  })

  it('takes data from anywhere in memory', () => {
    const spec: CipherSpec = { mode: 'xts', ivGenerator: 'plain64' }
    const random = createRandom(3)
    const key = random.bytes(32)
    const cipher = makeSectorCipher(primitives, spec, key)
    const plain = random.bytes(3 * SECTOR + 1).subarray(1)
    const into = new Uint8Array(3 * SECTOR + 3).subarray(3)
    cipher.encrypt(7, plain, into)
    expect(Buffer.compare(into, byOpenSsl(spec, key, 7, plain))).toBe(0)
  })

  it.each([
    [{ mode: 'xts', ivGenerator: 'plain64', sectorSize: 4096 } as const, 64],
    [{ mode: 'cbc', ivGenerator: 'essiv', ivHash: 'sha256', sectorSize: 2048 } as const, 32],
    [{ mode: 'ctr', ivGenerator: 'plain', sectorSize: 1024 } as const, 16],
  ])('%o with a key of %i bytes counts units of 512 bytes', (spec, keyBytes) => {
    const random = createRandom(keyBytes)
    const key = random.bytes(keyBytes)
    const cipher = makeSectorCipher(primitives, spec, key)
    const { sectorSize } = spec
    // More than a piece.
    const plain = random.bytes(70 * 4096)
    const sealed = new Uint8Array(plain.length)
    cipher.encrypt(24, plain, sealed)
    const bits = (key.length * 8) / (spec.mode === 'xts' ? 2 : 1)
    for (let at = 0; at < plain.length; at += sectorSize) {
      const iv = vectorOf(spec, key, 24 + at / SECTOR)
      const expected = createCipheriv(`aes-${bits}-${spec.mode}`, key, iv)
        .setAutoPadding(false)
        .update(plain.subarray(at, at + sectorSize))
      expect(Buffer.compare(sealed.subarray(at, at + sectorSize), expected)).toBe(0)
    }
    cipher.decrypt(24, sealed, sealed)
    expect(Buffer.compare(sealed, plain)).toBe(0)
  })

  // IEEE 1619-2007, annex B: vectors 4 and 10. The first 64 bytes of the data unit.
  it.each([
    [
      '27182818284590452353602874713526',
      '31415926535897932384626433832795',
      0,
      '27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89cc78cf7f5e543445f8333d8fa7f56000005279fa5d8b5e4ad40e736ddb4d35412',
    ],
    [
      '2718281828459045235360287471352662497757247093699959574966967627',
      '3141592653589793238462643383279502884197169399375105820974944592',
      0xff,
      '1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb4bb188fd',
    ],
  ])('gives the bytes of IEEE 1619', (key, tweakKey, unit, expected) => {
    const spec: CipherSpec = { mode: 'xts', ivGenerator: 'plain64' }
    const cipher = makeSectorCipher(primitives, spec, Buffer.from(key + tweakKey, 'hex'))
    const unitBytes = Uint8Array.from({ length: SECTOR }, (_, i) => i % 256)
    cipher.encrypt(unit, unitBytes, unitBytes)
    expect(Buffer.from(unitBytes.subarray(0, 64)).toString('hex')).toBe(expected)
  })

  it('forgets its keys, and does not touch those of its caller', () => {
    const key = Buffer.alloc(64, 7)
    const cipher = makeSectorCipher(primitives, { mode: 'xts', ivGenerator: 'plain64' }, key)
    const data = new Uint8Array(SECTOR)
    cipher.encrypt(0, data, data)
    cipher.close()
    cipher.close()
    expect(key).toEqual(Buffer.alloc(64, 7))
    expect(() => cipher.encrypt(0, data, data)).toThrow('keys')
    expect(() => cipher.decrypt(0, data, data)).toThrow('keys')
  })

  it.each<[CipherMode, number]>([
    ['xts', 33],
    ['xts', 16],
    ['cbc', 20],
    ['ecb', 0],
  ])('refuses %s with a key of %i bytes', (mode, bytes) => {
    expect(() => makeSectorCipher(primitives, { mode, ivGenerator: 'plain' }, new Uint8Array(bytes))).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    )
  })

  it('decrypts AES-CBC of any number of blocks', () => {
    const random = createRandom(5)
    const [key, iv, plain] = [random.bytes(32), random.bytes(16), random.bytes(48)]
    const sealed = createCipheriv('aes-256-cbc', key, iv).setAutoPadding(false).update(plain)
    expect([...decryptCbc(primitives, key, iv, sealed)]).toEqual([...plain])
    expect(() => decryptCbc(primitives, key, iv, sealed.subarray(1))).toThrow('whole blocks')
  })
})
