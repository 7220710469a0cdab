/** Secrets of `--object`, to which encrypted images refer by id. */
import { BlockError, type OpenEnvironment, type RawOptions } from '@vmblock/block-core'
import { errorText } from '@vmblock/block-core/late'
import { Failure } from './failure.ts'

/** The bytes of secrets, by id. */
export type Secrets = Map<string, Uint8Array>

const KEYS = ['data', 'file', 'format', 'keyid', 'iv']

const fail = (message: string): never => {
  throw new Failure(message)
}

/** What secrets are made from. */
export interface SecretSource {
  readonly secrets: Secrets
  /** Reads a file of the user. @throws with a POSIX `code` */
  readFile(path: string): Promise<Uint8Array>
}

/**
 * Makes a secret from its properties.
 *
 * @throws Failure with QEMU's message for an invalid definition
 */
export async function makeSecret(
  { secrets, readFile }: SecretSource,
  properties: RawOptions,
): Promise<Uint8Array> {
  for (const [key, value] of Object.entries(properties)) {
    if (!KEYS.includes(key)) fail(`Parameter '${key}' is unexpected`)
    if (typeof value !== 'string') fail(`Invalid parameter type for '${key}', expected: string`)
  }
  const { data, file, format, keyid, iv } = properties as Readonly<Record<string, string | undefined>>
  if (format !== undefined && format !== 'raw' && format !== 'base64')
    fail(`Parameter 'format' does not accept value '${format}'`)
  if (file !== undefined && data !== undefined) fail("'file' and 'data' are mutually exclusive")
  if (file === undefined && data === undefined) fail("Either 'file' or 'data' must be provided")
  const held = data === undefined ? await content(file!, readFile) : new TextEncoder().encode(data)
  const decoded = format === 'base64' ? decodeBase64(held) : held
  return keyid === undefined ? decoded : unseal(secrets, decoded, keyid, iv)
}

/** For {@link OpenEnvironment.secret}: the secrets of the command line. The function @throws BlockError EINVAL for an unknown id */
export const answerFrom =
  (secrets: Secrets): NonNullable<OpenEnvironment['secret']> =>
  async (id) => {
    const bytes = secrets.get(id)
    if (!bytes) throw new BlockError('EINVAL', `No secret with id '${id}'`)
    return bytes
  }

/** Bytes of the key and of the initial vector that QEMU encrypts secrets with: AES-256-CBC. */
const KEY_BYTES = 32
const BLOCK = 16

/** Decrypts a secret with another one, its key. @throws Failure */
async function unseal(
  secrets: Secrets,
  sealed: Uint8Array,
  keyid: string,
  iv: string | undefined,
): Promise<Uint8Array> {
  const key = secrets.get(keyid) ?? fail(`No secret with id '${keyid}'`)
  if (key.length !== KEY_BYTES) fail(`Key should be ${KEY_BYTES} bytes in length`)
  if (iv === undefined) return fail('IV is required to decrypt secret')
  const vector = decodeBase64(new TextEncoder().encode(iv))
  if (vector.length !== BLOCK) fail(`IV should be ${BLOCK} bytes in length not ${vector.length}`)
  if (sealed.length % BLOCK !== 0) fail(`Length ${sealed.length} must be a multiple of block size ${BLOCK}`)
  const { diskCrypto } = await import('@vmblock/crypto')
  const plain = diskCrypto.decryptCbc(key, vector, sealed)
  const padding = plain.at(-1) ?? 0
  if (padding > BLOCK || padding > plain.length)
    fail(`Incorrect number of padding bytes (${padding}) found on decrypted data`)
  return plain.subarray(0, plain.length - padding)
}

async function content(path: string, readFile: (path: string) => Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    return fail(`Unable to read ${path}: Failed to open file “${path}”: ${errorText(error)}`)
  }
}

function decodeBase64(held: Uint8Array): Uint8Array {
  const text = new TextDecoder().decode(held).replaceAll(/\s/g, '')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) fail('Base64 data contains invalid characters')
  if (text.length % 4 !== 0) fail('Base64 data length is not a multiple of 4')
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
}
