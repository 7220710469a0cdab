/** Amending key slots: `state` and its companions, with QEMU's help texts, order and messages. */
import { BlockError, integer, text } from '@vmblock/block-core/driver'
import { diskCrypto, type LuksStore } from '@vmblock/crypto'
import { type SecretOf, withSecret } from './secret.ts'

/** The table for `DriverFacts.amendOptions`. */
// biome-ignore format: a table
export const amendOptions = {
  'state':      text('Select new state of affected keyslots (active/inactive)'),
  'keyslot':    integer('Select a single keyslot to modify explicitly'),
  'old-secret': text('Select all keyslots that match this password'),
  'new-secret': text('New secret to set in the matching keyslots. Empty string to erase'),
  'iter-time':  integer('Time to spend in PBKDF in milliseconds'),
}

/** What is to be done. */
interface SlotAmendment {
  /** The options of `amend`, parsed. */
  readonly options: Readonly<Record<string, unknown>>
  readonly force: boolean
  readonly secret: SecretOf
  /** The id of the secret that opened the image. */
  readonly keySecret: string
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * Activates or erases key slots. A power cut leaves the old keys, or all of them.
 *
 * @throws BlockError EINVAL, in QEMU's words; ENOTSUP for a cipher that no library here has; the error of the file
 */
export async function amendSlots(store: LuksStore, { options, ...amendment }: SlotAmendment): Promise<void> {
  const { secret, keySecret, force } = amendment
  const { state } = options
  const slot = options['keyslot'] as number | undefined
  const oldSecret = options['old-secret'] as string | undefined
  const newSecret = options['new-secret'] as string | undefined
  const iterTime = options['iter-time'] as number | undefined
  if (state === 'active') {
    if (newSecret === undefined) throw invalid("'new-secret' is required to activate a keyslot")
    if (oldSecret !== undefined) throw invalid("'old-secret' must not be given when activating keyslots")
    return withSecret(secret, keySecret, (passphrase) =>
      withSecret(secret, newSecret, (newPassphrase) =>
        diskCrypto.addLuksKey(store, { passphrase, newPassphrase, slot, iterTime, force }),
      ),
    )
  }
  if (state === undefined) throw invalid("Parameter 'state' is missing")
  if (state !== 'inactive') throw invalid(`Parameter 'state' does not accept value '${state}'`)
  if (newSecret !== undefined) throw invalid("'new-secret' must not be given when erasing keyslots")
  if (iterTime !== undefined) throw invalid("'iter-time' must not be given when erasing keyslots")
  const erase = (oldPassphrase?: Uint8Array): Promise<void> =>
    diskCrypto.eraseLuksKeys(store, { slot, oldPassphrase, force })
  return oldSecret === undefined ? erase() : withSecret(secret, oldSecret, erase)
}
