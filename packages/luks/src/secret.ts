/** The bytes of secrets: a passphrase, or a key file, whatever bytes it has. QEMU takes text alone. */

/** Gives the bytes of a secret by its id. */
export type SecretOf = (id: string) => Promise<Uint8Array>

/** Runs `use` with a copy of a secret, which is overwritten afterwards. @throws BlockError EINVAL for an unknown id; what `use` throws */
export async function withSecret<T>(
  secret: SecretOf,
  id: string,
  use: (passphrase: Uint8Array) => Promise<T>,
): Promise<T> {
  const passphrase = new Uint8Array(await secret(id))
  try {
    return await use(passphrase)
  } finally {
    passphrase.fill(0)
  }
}
