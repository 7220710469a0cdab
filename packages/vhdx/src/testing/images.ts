/** Images on memory nodes, and the means to damage them. */
import {
  type AnyDriver,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
  type RawOptions,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { createVhdxDriver } from '../driver.ts'
import { withChecksum } from '../format/crc32c.ts'
import { guidWords, NO_GUID } from '../format/guid.ts'
import { decodeHeader, encodeHeader, HEADER_OFFSETS, type Header, MIB } from '../format/header.ts'
import { encodeEntry, LOG_SECTOR } from '../format/log-entry.ts'
import { REGION_TABLE_BYTES } from '../format/regions.ts'

/** Where our new images have their log, in bytes. */
export const LOG_AT = MIB
/** Where they have the block allocation table. */
export const BAT_AT = 2 * MIB
/** Where they have the metadata. */
export const METADATA_AT = 3 * MIB
/** Where the first block of a new image goes. */
export const DATA_AT = 8 * MIB

/** An empty disk in memory. */
export const emptyDisk = (): Promise<BlockNode> =>
  openNode({ registry: new DriverRegistry([memory]), host: denyHost }, { driver: 'memory' })

/** The driver, for options under QEMU's names. */
export const anyVhdx: AnyDriver = createVhdxDriver()

/** A new image on a memory node, of eight blocks of 1 MiB. `options` as for `qemu-img create -o`. */
export async function createImage(options: RawOptions = {}): Promise<BlockNode> {
  const file = await emptyDisk()
  await formatImage(anyVhdx, file, { size: 8 * MIB, block_size: MIB, ...options })
  return file
}

/** An image opened over a log of what it writes. */
export interface OpenImage {
  readonly node: BlockNode
  readonly log: WriteLog
}

/** Opens an image on `file`, logging. `options` as for `openNode`. */
export async function open(file: BlockNode, options: RawOptions = {}, logLimit?: number): Promise<OpenImage> {
  const log = new WriteLog()
  const registry = new DriverRegistry([
    memory,
    writeLog,
    createVhdxDriver(logLimit === undefined ? {} : { logLimit }),
  ])
  const node = await openNode(
    { registry, host: denyHost },
    { driver: 'vhdx', discard: 'unmap', ...options, file: { driver: 'write-log', log, file } },
  )
  return { node, log }
}

/** `bytes` bytes of one value. */
export const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** Reads a range. */
export async function bytesAt(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes)
  await node.read(offset, into)
  return into
}

/** Writes a little-endian number of 2, 4 or 8 bytes. */
export async function poke(
  file: BlockNode,
  offset: number,
  width: 2 | 4 | 8,
  value: number | bigint,
): Promise<void> {
  const bytes = new Uint8Array(width)
  for (let i = 0, rest = BigInt(value); i < width; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn)
  await file.write(offset, bytes)
}

/** Writes a GUID. */
export async function pokeGuid(file: BlockNode, offset: number, guid: bigint): Promise<void> {
  const { low, high } = guidWords(guid)
  await poke(file, offset, 8, low)
  await poke(file, offset + 8, 8, high)
}

/** Sets the checksum of a structure again, after it was changed. */
export async function sign(file: BlockNode, offset: number, bytes = REGION_TABLE_BYTES): Promise<void> {
  await file.write(offset, withChecksum(await bytesAt(file, offset, bytes)))
}

/** The current header. */
export async function headerOf(file: BlockNode): Promise<Header> {
  const both = await Promise.all(
    HEADER_OFFSETS.map(async (at) => decodeHeader(await bytesAt(file, at, 4096))),
  )
  const valid = both.filter((header) => header !== undefined)
  return valid.sort((a, b) => Number(b.sequence - a.sequence))[0]!
}

/** Changes values of both headers. */
export async function setHeaders(file: BlockNode, change: Partial<Header>): Promise<void> {
  for (const at of HEADER_OFFSETS) {
    const header = decodeHeader(await bytesAt(file, at, 4096))!
    await file.write(at, encodeHeader({ ...header, ...change }))
  }
}

/** The GUID of logs that tests make. */
export const LOG_GUID = 0x1234_5678n

/** An entry that a test puts into a log. */
export interface TestEntry {
  readonly sequence: number
  /** Bytes from the start of the log; also where the oldest entry is, unless `tail` is given. */
  readonly at: number
  readonly tail?: number
  readonly guid?: bigint
  /** What it writes: sectors full of a value, by host offset. */
  readonly sectors: Readonly<Record<number, number>>
  readonly flushed?: number
  readonly last?: number
  /** Damages the bytes of the entry after, or before, its checksum is set. */
  damage?(bytes: Uint8Array): void
  forge?(bytes: Uint8Array): void
}

/** Writes entries to the log of an image, as a ring, and has both headers name it. */
export async function putLog(file: BlockNode, entries: readonly TestEntry[]): Promise<void> {
  const { logLength } = await headerOf(file)
  for (const {
    sequence,
    at,
    tail = at,
    guid = LOG_GUID,
    sectors,
    flushed = file.size,
    last = file.size,
    damage,
    forge,
  } of entries) {
    const bytes = encodeEntry({
      tail,
      sequence: BigInt(sequence),
      logGuid: guid,
      flushedOffset: flushed,
      lastOffset: last,
      sectors: Object.entries(sectors).map(([offset, value]) => [Number(offset), filled(value, LOG_SECTOR)]),
    })
    if (forge) {
      forge(bytes)
      withChecksum(bytes)
    }
    damage?.(bytes)
    const first = Math.min(bytes.length, logLength - at)
    await file.write(LOG_AT + at, bytes.subarray(0, first))
    if (first < bytes.length) await file.write(LOG_AT, bytes.subarray(first))
  }
  await setHeaders(file, { logGuid: LOG_GUID })
}

/** Whether the headers name a log. */
export const hasLog = async (file: BlockNode): Promise<boolean> => (await headerOf(file)).logGuid !== NO_GUID

/** An independent copy of a memory node. */
export async function copyOf(file: BlockNode): Promise<BlockNode> {
  const copy = await emptyDisk()
  await copy.truncate(file.size)
  for (let at = 0; at < file.size; at += MIB) {
    const bytes = await bytesAt(file, at, Math.min(MIB, file.size - at))
    if (bytes.some((byte) => byte !== 0)) await copy.write(at, bytes)
  }
  return copy
}
