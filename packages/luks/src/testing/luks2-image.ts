/** Small volumes of LUKS version 2, which cost nothing to open: made here a second time, from the specification. */
import { createHash, pbkdf2Sync, randomBytes } from 'node:crypto'
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { viewOf } from '@vmblock/block-core/driver'
import { diskCrypto } from '@vmblock/crypto'

/** Bytes of a copy of the header, and of both with the area of key slots. */
export const HEADER = 0x4000
export const DATA = 0x10000

/** JSON that tests change. */
// biome-ignore lint/suspicious/noExplicitAny: tests put anything there
export type Json = any

/** How a volume is made. */
export interface Luks2Choices {
  /** Bytes of the data. */
  readonly size: number
  readonly sectorSize?: number
  readonly encryption?: string
  readonly kdf?: Json
  /** The key that `kdf` gives, in hexadecimal. Default: what PBKDF2 gives. */
  readonly slotKey?: string
  readonly ivTweak?: number
  /** The data is in another file. */
  readonly isDetached?: boolean
  /** Changes the metadata before it is written. */
  change?(metadata: Json): void
}

const ENCRYPTION = 'aes-xts-plain64'
const STRIPES = 2

/** A hash of pieces with their numbers, as the anti-forensic splitter has it. */
function diffused(stripe: Uint8Array): Uint8Array {
  const whole = new Uint8Array(stripe.length)
  for (let at = 0; at < stripe.length; at += 32) {
    const number = Uint8Array.of(0, 0, 0, at / 32)
    whole.set(
      createHash('sha256')
        .update(number)
        .update(stripe.subarray(at, at + 32))
        .digest(),
      at,
    )
  }
  return whole
}

const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes))
const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0))
const fromHex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16))

/**
 * A copy of the header.
 *
 * @param offset where it is, in bytes
 */
export function headerCopy(metadata: string, offset: number, sequence: bigint): Uint8Array {
  const bytes = new Uint8Array(HEADER)
  const view = viewOf(bytes)
  bytes.set(latin1(offset === 0 ? 'LUKS\xba\xbe' : 'SKUL\xba\xbe'))
  view.setUint16(6, 2)
  view.setBigUint64(8, BigInt(HEADER))
  view.setBigUint64(16, sequence)
  bytes.set(latin1('sha256'), 72)
  bytes.set(latin1('12345678-1234-1234-1234-123456789abc'), 168)
  view.setBigUint64(256, BigInt(offset))
  bytes.set(latin1(metadata), 4096)
  bytes.set(createHash('sha256').update(bytes).digest(), 448)
  return bytes
}

/** The bytes of a volume that `passphrase` opens; its data are zeroes as they lie in the file. */
export function luks2Bytes(passphrase: Uint8Array, choices: Luks2Choices): Uint8Array<ArrayBuffer> {
  const { size, sectorSize = 512, encryption = ENCRYPTION, ivTweak = 0, isDetached = false } = choices
  const masterKey = randomBytes(64)
  const salt = new Uint8Array(32).fill(7)
  const kdf = { type: 'pbkdf2', hash: 'sha256', iterations: 3, salt: base64(salt), ...choices.kdf }
  const metadata: Json = {
    keyslots: {
      0: {
        type: 'luks2',
        key_size: 64,
        af: { type: 'luks1', stripes: STRIPES, hash: 'sha256' },
        area: { type: 'raw', offset: String(2 * HEADER), size: '4096', encryption: ENCRYPTION, key_size: 32 },
        kdf,
      },
    },
    tokens: {},
    segments: {
      0: {
        type: 'crypt',
        offset: String(isDetached ? 0 : DATA),
        size: 'dynamic',
        iv_tweak: String(ivTweak),
        encryption,
        sector_size: sectorSize,
      },
    },
    digests: {
      0: {
        type: 'pbkdf2',
        keyslots: ['0'],
        segments: ['0'],
        hash: 'sha256',
        iterations: 2,
        salt: base64(salt),
        digest: base64(pbkdf2Sync(masterKey, salt, 2, 32, 'sha256')),
      },
    },
    config: { json_size: String(HEADER - 4096), keyslots_size: String(DATA - 2 * HEADER) },
  }
  const slotKey =
    choices.slotKey === undefined ? pbkdf2Sync(passphrase, salt, 3, 32, 'sha256') : fromHex(choices.slotKey)
  const first = randomBytes(64)
  const second = diffused(first).map((byte, i) => byte ^ masterKey[i]!)
  const material = new Uint8Array(512)
  material.set(first)
  material.set(second, 64)
  const cipher = diskCrypto.sectorCipher({ mode: 'xts', ivGenerator: 'plain64' }, slotKey)
  cipher.encrypt(0, material, material)
  choices.change?.(metadata)
  const bytes = new Uint8Array(DATA + (isDetached ? 0 : size))
  const text = JSON.stringify(metadata)
  bytes.set(headerCopy(text, 0, 3n))
  bytes.set(headerCopy(text, HEADER, 3n), HEADER)
  bytes.set(material, 2 * HEADER)
  return bytes
}

/** A volume on a memory node. */
export const luks2File = (passphrase: string, choices: Luks2Choices): BlockNode =>
  openMemory(luks2Bytes(new TextEncoder().encode(passphrase), choices))
