/** Makes an image. */

import { type AbortSignalLike, BlockError, type NodeOptions } from '@vmblock/block-core'
import {
  isPlain,
  requireFlag,
  requireOptions,
  requireSignal,
  requireText,
  wrongValue,
} from '@vmblock/block-core/driver'
import type { Allow } from '@vmblock/sources'
import type { CreationOptions } from '../options/creation.ts'
import {
  keyOptions,
  type Passphrase,
  type Passphrases,
  requirePassphrases,
  secretsOf,
} from '../options/passphrases.ts'
import { HOST_OPTIONS, LATER, type Platform, settingsOf } from '../platform/platform.ts'
import type { Source, Target } from '../platform/source.ts'
import { closeOwn } from './opened.ts'
import { type ImagePlan, makeImage } from './target.ts'

/** How any image is made, whatever its format. */
export interface MakingOptions {
  /**
   * The backing file, which shows through where the image holds nothing: a file, named from the working directory as
   * everywhere. The image names it relative to itself.
   */
  readonly backing?: Source | undefined
  /** The format of the backing file. Default: found out from its content. */
  readonly backingFormat?: string | undefined
  /** The passphrases of an encrypted backing file, and of those below it. */
  readonly backingPassphrase?: Passphrases | undefined
  /** The file of the guest's data, if that is to be apart from the image. qcow2 only. */
  readonly dataFile?: Target | undefined
  /** Also replace a file that holds data, which is lost. Default: no, that is EEXIST. */
  readonly overwrite?: boolean | undefined
  /** Which files the backing file may name. */
  readonly allow?: Allow | undefined
  /** Ends the operation: nothing is left behind. */
  readonly signal?: AbortSignalLike | undefined
}

/** How an image is created: also the options of its format, of which the end of the file name is the default. */
export type CreateOptions = MakingOptions & CreationOptions

/** Checks of {@link MakingOptions}. */
const MAKING = {
  format: requireText,
  backing: LATER,
  backingFormat: requireText,
  backingPassphrase: requirePassphrases,
  dataFile: LATER,
  overwrite: requireFlag,
  allow: HOST_OPTIONS.allow,
  signal: requireSignal,
}

/** Options of the core that are not options here: what they say has been said. */
const NOT_HERE = [
  'driver',
  'file',
  'draft',
  'backingFile',
  'backing_file',
  'backingFmt',
  'backing_fmt',
  'data_file',
]

/** What the ids of a plan stand for. */
interface WithPassphrases {
  readonly passphrases: Readonly<Record<string, Passphrases | undefined>>
}

/** Creation options with encryption as the drivers take it: its passphrase by an id. @throws BlockError EINVAL */
export function encryptionOf(creation: NodeOptions): {
  readonly passphrase: Passphrase | undefined
  readonly encryption: NodeOptions
} {
  const { encryption, ...others } = creation as NodeOptions & { readonly encryption?: unknown }
  if (encryption === undefined) return { passphrase: undefined, encryption: others }
  if (!isPlain(encryption))
    throw new BlockError('EINVAL', "Parameter 'encryption' must be { passphrase, ... }")
  const { passphrase, ...how } = encryption
  if (Array.isArray(passphrase)) requirePassphrases(undefined, 'encryption.passphrase')
  requirePassphrases(passphrase, 'encryption.passphrase')
  const encrypt = { format: 'luks', ...how, 'key-secret': 'encryption.passphrase-0' }
  return { passphrase: passphrase as Passphrase, encryption: { ...others, encrypt } }
}

/** The options of making images, checked and apart from those of their formats, which the drivers check. */
export function planOf(
  given: unknown,
): ImagePlan & Pick<MakingOptions, 'allow' | 'signal'> & WithPassphrases {
  if (!isPlain(given)) throw wrongValue('options', 'a plain object', given)
  const isMaking = ([key]: readonly [string, unknown]): boolean => Object.hasOwn(MAKING, key)
  const making = Object.fromEntries(Object.entries(given).filter(isMaking))
  requireOptions(making, 'options', MAKING)
  const { format, ...rest } = making as MakingOptions & { readonly format?: string }
  const { backing, backingFormat, backingPassphrase, dataFile, overwrite, allow, signal } = rest
  const creation = Object.fromEntries(Object.entries(given).filter((entry) => !isMaking(entry)))
  const other = NOT_HERE.find((key) => Object.hasOwn(creation, key))
  if (other !== undefined) throw new BlockError('EINVAL', `Parameter 'options' has no option '${other}'`)
  const { passphrase, encryption } = encryptionOf(creation)
  return {
    format,
    backing,
    backingFormat,
    dataFile,
    overwrite,
    allow,
    signal,
    creation: encryption,
    keys: keyOptions('encryption.passphrase', passphrase),
    backingKeys: keyOptions('backingPassphrase', backingPassphrase),
    passphrases: { 'encryption.passphrase': passphrase, backingPassphrase },
  }
}

/** See `create` of the entries. */
export async function createDisk(platform: Platform, target: unknown, options: unknown): Promise<void> {
  const { allow, signal, passphrases, ...plan } = planOf(options)
  signal?.throwIfAborted()
  const settings = settingsOf(platform, { allow }, secretsOf(passphrases))
  const { created, backing } = await makeImage(platform, settings, target, plan)
  await closeOwn(backing)
  if (!signal?.aborted) return
  await created.remove()
  signal.throwIfAborted()
}
