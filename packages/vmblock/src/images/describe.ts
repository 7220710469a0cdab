/** What an image is, as plain data: what `qemu-img info` prints, in the spelling of TypeScript. */
import { type BlockNode, type SnapshotInfo, skipFilters } from '@vmblock/block-core'
import { camelKey, isPlain } from '@vmblock/block-core/driver'

/** An internal snapshot of an image. */
export interface DiskSnapshot {
  readonly id: string
  readonly name: string
  readonly created: Date
  /** Bytes of the disk when it was made. Absent in old images, which do not say so. */
  readonly size?: number
  /** Bytes of machine state that it holds. */
  readonly vmStateSize: number
  /** Seconds that the machine had run. */
  readonly vmClock: number
}

/** What an image is: plain data, which can be copied and printed as JSON. */
export interface DiskInfo {
  /** The name of the driver: `qcow2`, `qed`, `raw`. */
  readonly format: string
  /** The name of the image file; empty for what has none. */
  readonly filename: string
  /** Size of the disk in bytes, as a guest sees it. */
  readonly size: number
  /** Size of the image file in bytes. Absent if the image is no file of its own. */
  readonly fileSize?: number
  /** Bytes that the image file takes on its file system: less, where it has holes. Absent where that is not known. */
  readonly allocatedSize?: number
  readonly readOnly: boolean
  /** Bytes. Absent for formats without clusters. */
  readonly clusterSize?: number
  /** Whether the image was not closed, and is repaired when it is next opened for writing. */
  readonly dirty: boolean
  /** Whether a key is needed to read it. */
  readonly encrypted: boolean
  /** The backing file that the image names, whether or not it is there. */
  readonly backing?: { readonly name: string; readonly format?: string }
  readonly snapshots: readonly DiskSnapshot[]
  /** Facts that only this format has, such as `lazyRefcounts` of qcow2. */
  readonly formatSpecific?: Readonly<Record<string, unknown>>
}

/** Describes an open image. @throws what its driver throws */
export async function describe(node: BlockNode): Promise<DiskInfo> {
  const facts = await node.info()
  const { file } = skipFilters(node)
  const allocatedSize = facts.actualSize ?? (await file?.node.info())?.actualSize
  const { backingFilename: name, backingFormat: format, clusterSize, formatSpecific } = facts
  return {
    format: skipFilters(node).driver.name,
    filename: bottomOf(node).filename,
    size: node.size,
    ...(file && { fileSize: file.size }),
    ...(allocatedSize !== undefined && { allocatedSize }),
    readOnly: node.readOnly,
    ...(clusterSize !== undefined && { clusterSize }),
    dirty: facts.dirty ?? false,
    encrypted: facts.encrypted ?? false,
    ...(name !== undefined && { backing: { name, ...(format !== undefined && { format }) } }),
    snapshots: (await node.listSnapshots()).map(snapshotOf),
    ...(formatSpecific && { formatSpecific: inCamelCase(formatSpecific.data) as Record<string, unknown> }),
  }
}

/** The node of the bytes. */
const bottomOf = (node: BlockNode): BlockNode => (node.file ? bottomOf(node.file.node) : node)

/** A snapshot as plain data. */
export const snapshotOf = ({
  id,
  name,
  dateSec,
  dateNsec,
  diskSize,
  vmStateSize,
  vmClockNsec,
}: SnapshotInfo): DiskSnapshot => ({
  id,
  name,
  created: new Date(dateSec * 1000 + Math.floor(dateNsec / 1e6)),
  ...(diskSize !== undefined && { size: Number(diskSize) }),
  vmStateSize: Number(vmStateSize),
  vmClock: Number(vmClockNsec) / 1e9,
})

/** Keys of trees in TypeScript's spelling; numbers that a `number` can hold become such numbers. */
function inCamelCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inCamelCase)
  if (typeof value === 'bigint') return Number(value)
  if (!isPlain(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [camelKey(key), inCamelCase(inner)]))
}
