/** The encryption of an image that is being made. */
import { BlockError, type BlockNode } from '@vmblock/block-core/driver'
import { diskCrypto, type LuksPlan } from '@vmblock/crypto'
import { luksArea } from './luks-area.ts'
import { passphraseOf, withPassphrase } from './passphrase.ts'

/** Options of `create` about encryption, as they are spelled. */
export type EncryptionOptions = Readonly<Record<string, unknown>>

/** The encryption of a new image. */
export interface NewEncryption {
  /** The number in the header. */
  readonly method: 1 | 2
  /** Bytes of the LUKS header and key slots; 0: there is none. */
  readonly areaBytes: number
  /** @throws BlockError EINVAL if the secret is unknown or no text */
  requireSecret(secret: SecretOf): Promise<void>
  /** Fills the area, which is zeroed, at a byte of the file. @throws BlockError EINVAL; the error of the file */
  writeArea(file: BlockNode, offset: number, secret: SecretOf): Promise<void>
}

type SecretOf = (id: string) => Promise<Uint8Array>

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Options of LUKS alone, with the names that they have there. */
const LUKS_ONLY = {
  'encrypt.cipher-alg': 'cipherAlg',
  'encrypt.cipher-mode': 'cipherMode',
  'encrypt.ivgen-alg': 'ivgenAlg',
  'encrypt.ivgen-hash-alg': 'ivgenHashAlg',
  'encrypt.hash-alg': 'hashAlg',
  'encrypt.iter-time': 'iterTime',
} as const

/**
 * Checks the options of a new image.
 *
 * @returns undefined if it is not to be encrypted
 * @throws BlockError EINVAL, in QEMU's words; ENOTSUP for a cipher that no library here has
 */
export function planEncryption(options: EncryptionOptions): NewEncryption | undefined {
  const format = formatOf(options)
  if (format === undefined) return undefined
  const given = Object.entries(LUKS_ONLY).filter(([key]) => options[key] !== undefined)
  if (format === 'aes' && given[0]) throw invalid(`Parameter '${given[0][0]}' is unexpected`)
  const plan =
    format === 'luks'
      ? diskCrypto.planLuks(Object.fromEntries(given.map(([key, name]) => [name, options[key]])))
      : undefined
  const keySecret = options['encrypt.key-secret'] as string | undefined
  if (keySecret === undefined) throw invalid("Parameter 'encrypt.key-secret' is required for cipher")
  return {
    method: plan ? 2 : 1,
    areaBytes: plan?.payloadOffset ?? 0,
    async requireSecret(secret) {
      const passphrase = await passphraseOf(secret, keySecret)
      passphrase.fill(0)
    },
    writeArea: (file, offset, secret) => writeArea(plan!, file, offset, secret, keySecret),
  }
}

/** @throws BlockError EINVAL */
function formatOf(options: EncryptionOptions): 'aes' | 'luks' | undefined {
  const format = options['encrypt.format']
  if (options['encryption'] === true) {
    if (format === undefined) return 'aes'
    throw invalid("'encrypt.format' and its alias 'encryption' can't be used at the same time")
  }
  if (format === undefined) {
    if (Object.keys(options).some((key) => key.startsWith('encrypt.') && options[key] !== undefined))
      throw invalid("Parameter 'encrypt.format' is missing")
    return undefined
  }
  if (format === 'aes' || format === 'luks') return format
  throw invalid(`Parameter 'format' does not accept value '${format}'`)
}

async function writeArea(
  plan: LuksPlan,
  file: BlockNode,
  offset: number,
  secret: SecretOf,
  keySecret: string,
): Promise<void> {
  const store = {
    ...luksArea(file, { offset, length: plan.payloadOffset }),
    // The image is flushed as a whole, before its header says that there is one.
    flush: () => Promise.resolve(),
  }
  await withPassphrase(secret, keySecret, (passphrase) => diskCrypto.formatLuks(store, plan, passphrase))
}
