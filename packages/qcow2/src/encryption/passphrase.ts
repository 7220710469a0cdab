/** Passphrases, as QEMU takes them from secrets. */
import { BlockError } from '@vmblock/block-core/driver'

/**
 * The passphrase in a secret: text, which ends at the first NUL, as in QEMU. The caller overwrites it.
 *
 * @param id of the secret
 * @throws BlockError EINVAL for an unknown id, and for bytes that are no text
 */
export async function passphraseOf(
  secret: (id: string) => Promise<Uint8Array>,
  id: string,
): Promise<Uint8Array> {
  const bytes = await secret(id)
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    // The cause would tell of the bytes.
    throw new BlockError('EINVAL', `Data from secret ${id} is not valid UTF-8`)
  }
  const end = bytes.indexOf(0)
  return new Uint8Array(end < 0 ? bytes : bytes.subarray(0, end))
}

/** Runs `use` with a passphrase, and overwrites it afterwards. @throws as {@link passphraseOf} */
export async function withPassphrase<T>(
  secret: (id: string) => Promise<Uint8Array>,
  id: string,
  use: (passphrase: Uint8Array) => Promise<T>,
): Promise<T> {
  const passphrase = await passphraseOf(secret, id)
  try {
    return await use(passphrase)
  } finally {
    passphrase.fill(0)
  }
}

/** Bytes of the key of method 1. */
const AES_KEY_BYTES = 16

/** The key of method 1: the passphrase itself, cut or filled up with zeroes. */
export function aesKeyOf(passphrase: Uint8Array): Uint8Array {
  const key = new Uint8Array(AES_KEY_BYTES)
  key.set(passphrase.subarray(0, AES_KEY_BYTES))
  return key
}
