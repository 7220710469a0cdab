/** The key of encrypted images: a passphrase itself. QEMU keeps the format for old images; it protects nothing from anyone who can try passphrases. */
import { BlockError } from '@vmblock/block-core/driver'

/** AES-128-CBC, with the number of the guest's sector. */
export const AES = { mode: 'cbc', ivGenerator: 'plain64' } as const

const KEY_BYTES = 16

/**
 * Runs `use` with the key in a secret, text that is cut or filled up with zeroes, and overwrites it afterwards.
 *
 * @throws BlockError EINVAL for an unknown id, and for bytes that are no text; what `use` throws
 */
export async function withAesKey<T>(
  secret: (id: string) => Promise<Uint8Array>,
  id: string,
  use: (key: Uint8Array) => Promise<T>,
): Promise<T> {
  const bytes = await secret(id)
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    // The cause would tell of the bytes.
    throw new BlockError('EINVAL', `Data from secret ${id} is not valid UTF-8`)
  }
  const end = bytes.indexOf(0)
  const key = new Uint8Array(KEY_BYTES)
  key.set(bytes.subarray(0, Math.min(end < 0 ? bytes.length : end, KEY_BYTES)))
  try {
    return await use(key)
  } finally {
    key.fill(0)
  }
}
