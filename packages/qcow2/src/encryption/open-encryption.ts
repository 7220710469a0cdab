/** The encryption of an image that is being opened: with its key, or without one to be described. */
import {
  BlockError,
  type BlockErrorCode,
  type NodeOps,
  type OpenContext,
  SECTOR,
} from '@vmblock/block-core/driver'
import { diskCrypto, LUKS_HEADER_BYTES, luksFacts, parseLuksHeader, type SectorCipher } from '@vmblock/crypto'
import type { Header } from '../format/header.ts'
import type { ImageEncryption } from '../image/encryption.ts'
import type { ImageParts } from '../image/image.ts'
import type { RuntimeOptions } from '../options/options.ts'
import { amendSlots } from './amend-slots.ts'
import { EncryptedStore } from './encrypted-store.ts'
import { luksArea } from './luks-area.ts'
import { aesKeyOf, withPassphrase } from './passphrase.ts'
import { inWholeSectors } from './vm-state.ts'

/** Encryption methods, by their number in the header. */
const METHODS = ['none', 'aes', 'luks']

/** Method 1: AES-128-CBC, with the number of the guest's sector. */
const AES = { mode: 'cbc', ivGenerator: 'plain64' } as const

type Context = OpenContext<RuntimeOptions>

/**
 * Judges the settings of header and options, and unlocks the image, unless it is only to be described. Called if there is
 * encryption in the header, or options ask for it.
 *
 * @throws BlockError EINVAL, in QEMU's words, if they contradict each other, a key is needed and none is named, or it is the
 *   wrong one; ENOTSUP for a cipher that no library here has; the error of the file
 */
export async function openEncryption(
  context: Context,
  header: Header,
  file: ImageParts['file'],
): Promise<ImageEncryption> {
  const { nodeName } = context
  const fail = (message: string, code: BlockErrorCode = 'EINVAL'): BlockError =>
    new BlockError(code, message, { node: nodeName })
  requireConsistent(context.options, header.cryptMethod, fail)
  const range = header.extensions.luksHeader
  const isLuks = header.cryptMethod === 2
  if (isLuks && !range) throw fail('Missing CRYPTO header for crypt method 2')
  const store = range && luksArea(file, range)
  const facts = async (): Promise<Readonly<Record<string, unknown>>> => {
    if (!store) return { format: 'aes' }
    const bytes = new Uint8Array(LUKS_HEADER_BYTES)
    await store.read(0, bytes)
    return luksFacts(parseLuksHeader(bytes))
  }
  const keySecret = context.options['encrypt.keySecret']
  const isLocked = context.noIo && context.readOnly
  if (!isLocked && keySecret === undefined)
    throw fail("Parameter 'encrypt.key-secret' is required for cipher")
  // A broken header is refused even if it is only to be described.
  if (isLocked) await facts()
  const cipher = isLocked
    ? undefined
    : await withPassphrase(context.secret, keySecret!, async (passphrase) => {
        if (store) return (await diskCrypto.openLuks(store, passphrase)).cipher
        const key = aesKeyOf(passphrase)
        const made = diskCrypto.sectorCipher(AES, key)
        key.fill(0)
        return made
      })
  return {
    facts,
    around: (plain) => (cipher ? new EncryptedStore(plain, cipher, isLuks) : plain),
    operations: (plain) => (cipher ? encryptedOps(plain, cipher) : describedOps(plain, fail)),
    viewOperations(plain) {
      const { readVmState } = inWholeSectors(plain as Required<NodeOps>)
      return { ...plain, readVmState, limits: { ...plain.limits, requestAlignment: SECTOR } }
    },
    async amend(options, force) {
      if (!store) throw fail('Only LUKS encryption options can be amended', 'ENOTSUP')
      await amendSlots(store, { options, force, secret: context.secret, keySecret: keySecret! })
    },
  }
}

/** @throws what `fail` makes, in QEMU's words, if the options contradict the header */
function requireConsistent(
  { 'encrypt.format': given, 'encrypt.keySecret': key }: RuntimeOptions,
  method: number,
  fail: (message: string) => BlockError,
): void {
  const format = METHODS[method]!
  if (method === 0) {
    const what = given === undefined ? "'encrypt.key-secret'" : `format '${given}'`
    if (given !== undefined || key !== undefined)
      throw fail(`No encryption in image header, but options specified ${what}`)
  } else if (given !== undefined && given !== format)
    throw fail(`Header reported '${format}' encryption format but options specify '${given}'`)
}

/** The operations of an image that was opened only to be described. */
function describedOps(plain: NodeOps, fail: (message: string) => BlockError): NodeOps {
  const { size, info, listSnapshots, close, crash } = plain as Required<NodeOps>
  return {
    size,
    read: () => Promise.reject(fail("Parameter 'encrypt.key-secret' is required for cipher")),
    info,
    listSnapshots,
    close,
    crash,
  }
}

/** The operations of an image with a key: of whole sectors, without those that would pass encrypted bytes on. */
function encryptedOps(plain: NodeOps, cipher: SectorCipher): NodeOps {
  const { copyRange: _, ...kept } = plain
  return {
    ...kept,
    ...inWholeSectors(plain as Required<NodeOps>),
    limits: { ...plain.limits, requestAlignment: SECTOR },
    // QEMU stores compressed data as plain text: a reader of the file needs no key for it.
    writeCompressed: () =>
      Promise.reject(new BlockError('ENOTSUP', 'Compression and encryption not supported at the same time')),
    async close() {
      try {
        await plain.close?.()
      } finally {
        cipher.close()
      }
    },
    async crash() {
      cipher.close()
      await plain.crash?.()
    },
  }
}
