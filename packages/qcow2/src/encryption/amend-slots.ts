/** Amending key slots: `encrypt.state` and its companions, in QEMU's order and words. */
import { BlockError } from '@vmblock/block-core/driver'
import { diskCrypto, type LuksStore } from '@vmblock/crypto'
import { withPassphrase } from './passphrase.ts'

/** What is to be done. */
interface SlotAmendment {
  /** The options of `amend`, parsed. */
  readonly options: Readonly<Record<string, unknown>>
  readonly force: boolean
  secret(id: string): Promise<Uint8Array>
  /** The id of the secret that opened the image. */
  readonly keySecret: string
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * Activates or erases key slots.
 *
 * @throws BlockError EINVAL, in QEMU's words; ENOTSUP for a cipher that no library here has; the error of the file
 */
export async function amendSlots(store: LuksStore, { options, ...amendment }: SlotAmendment): Promise<void> {
  const { secret, keySecret, force } = amendment
  const state = options['encrypt.state']
  const slot = options['encrypt.keyslot'] as number | undefined
  const oldSecret = options['encrypt.old-secret'] as string | undefined
  const newSecret = options['encrypt.new-secret'] as string | undefined
  const iterTime = options['encrypt.iter-time'] as number | undefined
  if (state === 'active') {
    if (newSecret === undefined) throw invalid("'new-secret' is required to activate a keyslot")
    if (oldSecret !== undefined) throw invalid("'old-secret' must not be given when activating keyslots")
    return withPassphrase(secret, keySecret, (passphrase) =>
      withPassphrase(secret, newSecret, (newPassphrase) =>
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
  return oldSecret === undefined ? erase() : withPassphrase(secret, oldSecret, erase)
}
