/** Opens an image of either version: with its key, or without one to be described. */
import {
  alignUp,
  BlockError,
  type NodeOps,
  type OpenContext,
  SECTOR,
  viewOf,
} from '@vmblock/block-core/driver'
import {
  diskCrypto,
  LUKS_HEADER_BYTES,
  type LuksStore,
  luksFacts,
  parseLuksHeader,
  type SectorCipher,
} from '@vmblock/crypto'
import { amendSlots } from './amend.ts'
import { diskOps, type Payload } from './disk.ts'
import { headerStore } from './header-store.ts'
import { withSecret } from './secret.ts'

/** Names of secrets. */
interface KeyOptions {
  readonly keySecret: string | undefined
  readonly 'encrypt.keySecret': string | undefined
}

type Context = OpenContext<KeyOptions, 'file' | 'header'>

/** What a header says, and how it is unlocked. */
interface Volume {
  readonly payload: Payload
  /** Bytes that the header needs at the start of its file. */
  readonly headerBytes: number
  readonly facts: Readonly<Record<string, unknown>>
  unlock(passphrase: Uint8Array): Promise<SectorCipher>
}

/**
 * Opens an image. One that is only to be described needs no key.
 *
 * @throws BlockError EINVAL, in QEMU's words, for a broken header, if no key is named, or it is the wrong one; ENOTSUP, by its
 *   name, for what no library here has, or is not done here; EIO for a file that ends before its data; ENOMEM; errors of
 *   the files
 */
export async function openImage(context: Context): Promise<NodeOps> {
  const { nodeName, options } = context
  const file = await context.requireChild('file')
  const header = await context.child('header')
  const store = headerStore(header ?? file, header !== undefined)
  const fail = (code: 'EINVAL' | 'EIO' | 'ENOTSUP', message: string): BlockError =>
    new BlockError(code, message, { node: nodeName })
  const keySecret = options.keySecret ?? options['encrypt.keySecret']
  const isLocked = context.noIo && context.readOnly
  if (!isLocked && keySecret === undefined)
    throw fail('EINVAL', "Parameter 'key-secret' is required for cipher")
  const isSecond = !(await isFirstVersion(store))
  const volume = await (isSecond ? describeSecond(store) : describeFirst(store))
  const { payload } = volume
  if (!header && payload.offset < volume.headerBytes)
    throw fail('EINVAL', 'LUKS payload is overlapping with the header')
  if (payload.offset + (payload.size ?? 0) > alignUp(file.size, SECTOR))
    throw fail('EIO', 'Could not refresh total sector count: Input/output error')
  const cipher = isLocked ? undefined : await withSecret(context.secret, keySecret!, volume.unlock)
  const disk = diskOps(file, payload, cipher, fail)
  return {
    ...disk,
    // Key slots change, and nothing of this is kept.
    info: async () => ({
      encrypted: true,
      formatSpecific: { type: 'luks', data: await (isSecond ? volume : await describeFirst(store)).facts },
    }),
    async amend(given, { force = false }) {
      if (isSecond) throw fail('ENOTSUP', 'Key slots of LUKS version 2 cannot be changed')
      await amendSlots(store, { options: given, force, secret: context.secret, keySecret: keySecret! })
    },
  }
}

/** Whether the file begins with a header of version 1: of version 2, the first copy may be damaged. */
async function isFirstVersion(store: LuksStore): Promise<boolean> {
  const head = new Uint8Array(8)
  await store.read(0, head)
  const view = viewOf(head)
  return view.getUint32(0) === MAGIC && view.getUint16(6) === 1
}

/** `LUKS`. */
const MAGIC = 0x4c554b53

async function describeFirst(store: LuksStore): Promise<Volume> {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  await store.read(0, bytes)
  const header = parseLuksHeader(bytes, store.isDetached)
  const { format: _, ...facts } = luksFacts(header)
  return {
    payload: { offset: header.payloadOffset, size: undefined, firstSector: 0, sectorSize: SECTOR },
    headerBytes: LUKS_HEADER_BYTES,
    facts,
    unlock: async (passphrase) => (await diskCrypto.openLuks(store, passphrase)).cipher,
  }
}

async function describeSecond(store: LuksStore): Promise<Volume> {
  const { segment, headerBytes, facts } = await diskCrypto.describeLuks2(store)
  const { offset, size, ivTweak, sectorSize } = segment
  return {
    payload: { offset, size, firstSector: ivTweak, sectorSize },
    headerBytes,
    facts,
    unlock: async (passphrase) => (await diskCrypto.openLuks2(store, passphrase)).cipher,
  }
}
