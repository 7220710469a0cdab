/** Passphrases of encrypted images: how options give them, and how the block layer is given them, by ids. */
import type { Check } from '@vmblock/block-core/driver'
import { BlockError, type NodeOptions } from '@vmblock/block-core/open'

/** A passphrase: text, or its bytes in UTF-8. */
export type Passphrase = string | Uint8Array

/** Passphrases of an image, and if it is a list, of its backing file, of that one's, and so on; undefined: not encrypted. */
export type Passphrases = Passphrase | readonly (Passphrase | undefined)[]

const isPassphrase = (value: unknown): boolean =>
  typeof value === 'string' ? !value.includes('\0') : value instanceof Uint8Array && !value.includes(0)

/** Says what is wrong without the value. QEMU would take a passphrase to end at a NUL. @throws BlockError EINVAL */
export const requirePassphrases: Check = (value, name) => {
  const each: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (each.every((one) => (one === undefined && Array.isArray(value)) || isPassphrase(one))) return
  throw new BlockError('EINVAL', `Parameter '${name}' must be a passphrase, text or bytes without NUL`)
}

const listOf = (given: Passphrases | undefined): readonly (Passphrase | undefined)[] =>
  given === undefined || typeof given === 'string' || given instanceof Uint8Array ? [given] : given

/**
 * The options that name the passphrases of an image.
 *
 * @param name of the option that gives them
 */
export const keyOptions = (name: string, given: Passphrases | undefined): NodeOptions =>
  Object.fromEntries(
    listOf(given).flatMap((one, i) =>
      one === undefined ? [] : [[`${'backing.'.repeat(i)}encrypt.key-secret`, `${name}-${i}`]],
    ),
  )

/** The bytes of what {@link keyOptions} names, for the block layer. */
export const secretsOf =
  (given: Readonly<Record<string, Passphrases | undefined>>) =>
  async (id: string): Promise<Uint8Array> => {
    const [, name = '', index] = /^(.*)-(\d+)$/.exec(id) ?? []
    const found = Object.hasOwn(given, name) ? listOf(given[name])[Number(index)] : undefined
    if (found === undefined) throw new BlockError('EINVAL', `No secret with id '${id}'`)
    return typeof found === 'string' ? new TextEncoder().encode(found) : found
  }
