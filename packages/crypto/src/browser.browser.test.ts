/** In a page: the same bytes as OpenSSL's own modes and PBKDF2 give, volumes, and an encrypted disk. */

import { describe, expect, it } from 'vitest'
import { create, open } from 'vmblock'
import { type CipherMode, diskCrypto } from './browser.ts'
import { browserPrimitives } from './platform/browser.ts'
import type { HashName } from './platform/primitives.ts'

const SECTORS = 300
const DATA = Uint8Array.from({ length: SECTORS * 512 }, (_, i) => (i * 7 + (i >> 9) * 13) % 256)
const KEY = Uint8Array.from({ length: 64 }, (_, i) => i * 3 + 1)
/** Numbers on both sides of 2^32. */
const FIRST = 2 ** 32 - 150

const hex = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
const text = (word: string): Uint8Array => new TextEncoder().encode(word)

describe('a page has the bytes of OpenSSL', () => {
  // SHA-256 of what OpenSSL 3 encrypts.
  it.each<[CipherMode, number, string]>([
    ['xts', 64, '3777abf59650eade92df7a5b4fbc9bb42c1bf810b5ad4298227577e37a2ae594'],
    ['xts', 32, 'a503a592fe6193ccee6cddd352ed84b24aa678c5632c7fd0417575e2f2f6b82a'],
    ['cbc', 16, '66f8bec69d3a3f739d1fb8f2683f1156aa4bcee4dff0d7308988b17b9a6883d2'],
    ['ctr', 32, '18102ec38e997e07c6baeb89f9efd933278bc34eca0d17ffd07014e585d8aa90'],
  ])('in AES-%s with a key of %i bytes', async (mode, keyBytes, expected) => {
    const cipher = diskCrypto.sectorCipher({ mode, ivGenerator: 'plain64' }, KEY.subarray(0, keyBytes))
    const sealed = new Uint8Array(DATA.length)
    cipher.encrypt(FIRST, DATA, sealed)
    expect(hex(new Uint8Array(await crypto.subtle.digest('SHA-256', sealed)))).toBe(expected)
    cipher.decrypt(FIRST, sealed, sealed)
    expect(sealed.every((byte, i) => byte === DATA[i])).toBe(true)
    cipher.close()
  })

  it.each<[HashName, string]>([
    [
      'md5',
      'e813130ed6061a3c573da9c63c58d760e105ad26e27ed9739622191f0b1258c6f6bcb907262fb958c6c77c4020223140',
    ],
    [
      'sha1',
      '8afcb4cdae6e15c6b2d6a9a82587d2b01206573516303465c6e27452e4db1e8feebab9b0d829362dcc188478fdb2d319',
    ],
    [
      'sha224',
      '719488b401c4bd25181682a60c5c8138fd9eec624b96d622d49b2c504b726e8e80e380afed5d3c4f2f6b7654fc91292a',
    ],
    [
      'sha256',
      'b00d79b706eca6761c6187bb8a12f17ad5f7ff6db11ae7fde01e804d35c3292e29fc7e31ddae0594322189001b59fc0a',
    ],
    [
      'sha384',
      '44400dc4581d135c4d85365ea6b27151d553c3e99f23d0b3160553fcc59b71feab31035e456c18a2872e278160a29392',
    ],
    [
      'sha512',
      '528ef990369f1f806944ae7598ad992bfb54cf54346335480a2de76691df2f53da9be31b124d6f83e3ceff3738ea7d78',
    ],
    [
      'ripemd160',
      'be6a1c59afc2b4574224d06495e8ae3bdbe6c3e09f290f71ad194e8d40652876fb04635246ff8a030bf52b90dd4e7287',
    ],
  ])('in PBKDF2 with %s', async (hash, expected) => {
    const salt = text('salt of 32 bytes, or about as many')
    expect(hex(await browserPrimitives.pbkdf2(hash, text('password'), salt, 1000, 48))).toBe(expected)
  })
})

it('a disk in a page is encrypted, and opens with its passphrase alone', async () => {
  const target = { opfs: 'encrypted.qcow2' }
  await create(target, { size: '1M', encryption: { passphrase: 'correct horse', iterTime: 10 } })
  {
    await using disk = await open(target, { passphrase: 'correct horse' })
    await disk.write(1000, new Uint8Array(3000).fill(7))
  }
  await using disk = await open(target, { passphrase: 'correct horse', readOnly: true })
  expect([...(await disk.read(999, 3))]).toEqual([0, 7, 7])
  await expect(open(target, { passphrase: 'battery staple', readOnly: true })).rejects.toThrow(
    'Invalid password',
  )
})
