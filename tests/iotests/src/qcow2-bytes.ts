/**
 * A second, independent reader of qcow2 files: what their bytes say, whatever our driver makes of them.
 * Only the parts that cases look at; written from the published qcow2 specification.
 * @module
 */
import { open } from 'node:fs/promises'

/** A header extension as it is stored. */
export interface Extension {
  readonly type: number
  readonly data: Uint8Array
}

/** The header fields that cases look at. Offsets and sizes in bytes, features as bit numbers. */
export interface Header {
  readonly version: number
  readonly backingFile: string
  readonly clusterSize: number
  readonly size: number
  readonly cryptMethod: number
  readonly l1Size: number
  readonly l1Offset: number
  readonly refcountTableOffset: number
  readonly refcountTableClusters: number
  readonly snapshots: number
  readonly incompatible: readonly number[]
  readonly compatible: readonly number[]
  readonly autoclear: readonly number[]
  readonly refcountBits: number
  readonly headerLength: number
  readonly extensions: readonly Extension[]
}

/** Header extension type of the feature name table. */
export const FEATURE_NAMES = 0x6803f857
const OFFSET_MASK_HI = 0x00ffffff
const OFFSET_MASK_LO = 0xfffffe00

/** Opens, reads `bytes` at `offset` (zeroes beyond the end), closes. */
export async function peek(path: string, offset: number, bytes: number): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const into = new Uint8Array(bytes)
    await file.read(into, 0, bytes, offset)
    return into
  } finally {
    await file.close()
  }
}

/** Opens, overwrites bytes in place, closes. */
export async function poke(path: string, offset: number, bytes: ArrayLike<number>): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.write(Uint8Array.from(bytes), 0, bytes.length, offset)
  } finally {
    await file.close()
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const u64 = (view: DataView, at: number): number => view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
const offsetAt = (view: DataView, at: number): number =>
  (view.getUint32(at) & OFFSET_MASK_HI) * 2 ** 32 + ((view.getUint32(at + 4) & OFFSET_MASK_LO) >>> 0)

function bits(view: DataView, at: number): number[] {
  const set: number[] = []
  for (let bit = 0; bit < 64; bit++) {
    const word = view.getUint32(bit < 32 ? at + 4 : at)
    if ((word >>> (bit % 32)) & 1) set.push(bit)
  }
  return set
}

/** Reads the header and its extensions. */
export async function readHeader(path: string): Promise<Header> {
  const bytes = await peek(path, 0, 64 * 1024)
  const view = viewOf(bytes)
  if (view.getUint32(0) !== 0x514649fb) throw new Error(`${path} is not a qcow2 file`)
  const version = view.getUint32(4)
  const v3 = version >= 3
  const headerLength = v3 ? view.getUint32(100) : 72
  const backingOffset = u64(view, 8)
  const backingLength = view.getUint32(16)
  const backingFile = new TextDecoder().decode(bytes.subarray(backingOffset, backingOffset + backingLength))
  return {
    version,
    backingFile: backingOffset === 0 ? '' : backingFile,
    clusterSize: 2 ** view.getUint32(20),
    size: u64(view, 24),
    cryptMethod: view.getUint32(32),
    l1Size: view.getUint32(36),
    l1Offset: u64(view, 40),
    refcountTableOffset: u64(view, 48),
    refcountTableClusters: view.getUint32(56),
    snapshots: view.getUint32(60),
    incompatible: v3 ? bits(view, 72) : [],
    compatible: v3 ? bits(view, 80) : [],
    autoclear: v3 ? bits(view, 88) : [],
    refcountBits: v3 ? 2 ** view.getUint32(96) : 16,
    headerLength,
    extensions: extensionsFrom(bytes, headerLength),
  }
}

function extensionsFrom(bytes: Uint8Array, start: number): Extension[] {
  const view = viewOf(bytes)
  const found: Extension[] = []
  for (let at = start; at + 8 <= bytes.length; ) {
    const type = view.getUint32(at)
    const length = view.getUint32(at + 4)
    if (type === 0) break
    found.push({ type, data: bytes.slice(at + 8, at + 8 + length) })
    at += 8 + Math.ceil(length / 8) * 8
  }
  return found
}

/** Replaces the header extensions; only for images without a backing file name, which would follow them. */
export async function writeExtensions(path: string, extensions: readonly Extension[]): Promise<void> {
  const { headerLength, backingFile } = await readHeader(path)
  if (backingFile !== '') throw new Error('the extensions of an overlay cannot be moved')
  const parts: number[] = []
  for (const { type, data } of extensions) {
    parts.push(...word(type), ...word(data.length), ...data)
    while (parts.length % 8 !== 0) parts.push(0)
  }
  await poke(path, headerLength, [...parts, ...new Array<number>(8).fill(0)])
}

const word = (value: number): number[] => [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff)

const FEATURE_FIELDS = { incompatible: 72, compatible: 80, autoclear: 88 } as const

/** Sets one feature bit in the file. */
export async function setFeature(
  path: string,
  kind: keyof typeof FEATURE_FIELDS,
  bit: number,
): Promise<void> {
  const at = FEATURE_FIELDS[kind] + 7 - Math.floor(bit / 8)
  const [old = 0] = await peek(path, at, 1)
  await poke(path, at, [old | (1 << (bit % 8))])
}

/** A table entry: its offset in the file and its value, as a 64-bit number in hex. */
export interface Entry {
  readonly at: number
  readonly hex: string
  /** The host offset in it (flags removed). */
  readonly offset: number
}

async function entry(path: string, at: number): Promise<Entry> {
  const bytes = await peek(path, at, 8)
  return { at, hex: Buffer.from(bytes).toString('hex'), offset: offsetAt(viewOf(bytes), 0) }
}

/** L1 entry number `index`. */
export async function l1Entry(path: string, index: number): Promise<Entry> {
  const { l1Offset } = await readHeader(path)
  return entry(path, l1Offset + index * 8)
}

/** The L2 entry of a guest offset, or undefined when there is no L2 table. Standard entries only. */
export async function l2Entry(path: string, guest: number): Promise<Entry | undefined> {
  const { clusterSize } = await readHeader(path)
  const entries = clusterSize / 8
  const cluster = Math.floor(guest / clusterSize)
  const table = await l1Entry(path, Math.floor(cluster / entries))
  if (table.offset === 0) return undefined
  return entry(path, table.offset + (cluster % entries) * 8)
}

/** The refcount of the host cluster at a byte offset; widths from 8 bits up. */
export async function refcountAt(path: string, host: number): Promise<number> {
  const { clusterSize, refcountBits, refcountTableOffset } = await readHeader(path)
  const perBlock = (clusterSize * 8) / refcountBits
  const cluster = Math.floor(host / clusterSize)
  const block = await entry(path, refcountTableOffset + Math.floor(cluster / perBlock) * 8)
  if (block.offset === 0) return 0
  const width = refcountBits / 8
  const bytes = await peek(path, block.offset + (cluster % perBlock) * width, width)
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0)
}
