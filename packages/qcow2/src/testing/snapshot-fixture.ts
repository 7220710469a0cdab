/** Internal snapshots of closed image files, made by hand: for tests of what does not make snapshots itself. */
import type { BlockNode } from '@vmblock/block-core'
import { alignUp, viewOf } from '@vmblock/block-core/driver'
import { toBytes } from '@vmblock/block-core/testing'
import { encodeName } from '../format/encode-name.ts'
import { HEADER_FIELD, type Header } from '../format/header.ts'
import { COMPRESSED_HI, COPIED_HI, compressedExtent, hostOffsetOf } from '../format/l2-entry.ts'
import { parseSnapshotTable, type Snapshot, serializeSnapshotTable } from '../format/snapshot-layout.ts'
import { headerIn } from './plain-header.ts'

/** An image file in memory, whose words are changed in place. */
class Bytes {
  bytes: Uint8Array
  readonly header: Header

  private constructor(bytes: Uint8Array, header: Header) {
    this.bytes = bytes
    this.header = header
  }

  static async of(file: BlockNode): Promise<Bytes> {
    const bytes = await toBytes(file)
    return new Bytes(bytes, await headerIn(bytes.subarray(0, 2 ** 21), true))
  }

  get cluster(): number {
    return 2 ** this.header.clusterBits
  }
  get view(): DataView {
    return viewOf(this.bytes)
  }
  /** Appends whole clusters, with refcount 1. @returns their offset */
  append(content: Uint8Array): number {
    const offset = alignUp(this.bytes.length, this.cluster)
    const grown = new Uint8Array(offset + alignUp(content.length, this.cluster))
    grown.set(this.bytes)
    grown.set(content, offset)
    this.bytes = grown
    for (let at = offset; at < grown.length; at += this.cluster) this.count(at)
    return offset
  }
  /** Adds 1 to the refcount of a cluster, which has 16 bits; its block exists. */
  count(offset: number): void {
    const index = Math.floor(offset / this.cluster)
    const perBlock = this.cluster / 2
    const at = this.header.refcountTableOffset + Math.floor(index / perBlock) * 8
    const block = Number(this.view.getBigUint64(at))
    const place = block + (index % perBlock) * 2
    this.view.setUint16(place, this.view.getUint16(place) + 1)
  }
  get snapshots(): Snapshot[] {
    const { nbSnapshots, snapshotsOffset } = this.header
    return parseSnapshotTable(this.bytes.subarray(snapshotsOffset), nbSnapshots).snapshots
  }
}

/** Counts the clusters of an L2 table once more; none of its entries may be written in place any more. */
function share(image: Bytes, table: number): void {
  for (let at = table; at < table + image.cluster; at += 8) {
    const [hi, lo] = [image.view.getUint32(at), image.view.getUint32(at + 4)]
    if ((hi & COMPRESSED_HI) !== 0) {
      const { hostOffset, bytes } = compressedExtent(hi, lo, image.header.clusterBits)
      const first = Math.floor(hostOffset / image.cluster)
      for (let i = first; i * image.cluster < hostOffset + bytes; i++) image.count(i * image.cluster)
      continue
    }
    const host = hostOffsetOf(hi, lo)
    if (host === 0) continue
    image.count(host)
    image.view.setUint32(at, (hi & ~COPIED_HI) >>> 0)
  }
}

/** Adds a snapshot of the disk as it is, as `qemu-img snapshot -c` does. For 16-bit refcounts and plain L2 entries. */
export async function addSnapshot(file: BlockNode): Promise<void> {
  const image = await Bytes.of(file)
  const { header } = image
  const l1Bytes = header.l1Size * 8
  for (let at = header.l1TableOffset; at < header.l1TableOffset + l1Bytes; at += 8) {
    const table = hostOffsetOf(image.view.getUint32(at), image.view.getUint32(at + 4))
    if (table === 0) continue
    image.count(table)
    share(image, table)
    image.view.setUint32(at, (image.view.getUint32(at) & ~COPIED_HI) >>> 0)
  }
  const copy = image.append(image.bytes.slice(header.l1TableOffset, header.l1TableOffset + l1Bytes))
  const before = image.snapshots
  const added: Snapshot = {
    l1TableOffset: BigInt(copy),
    l1Size: header.l1Size,
    id: encodeName(String(before.length + 1)),
    name: encodeName(`made ${before.length + 1}`),
    dateSec: 0,
    dateNsec: 0,
    vmClockNsec: 0n,
    vmStateSize: 0n,
    diskSize: BigInt(header.size),
    icount: undefined,
    extraDataSize: 24,
    unknownExtraData: new Uint8Array(0),
  }
  const table = image.append(serializeSnapshotTable([...before, added], header.size))
  if (before.length > 0) forget(image, header.snapshotsOffset)
  image.view.setUint32(HEADER_FIELD.nbSnapshots, before.length + 1)
  image.view.setBigUint64(HEADER_FIELD.snapshotsOffset, BigInt(table))
  await file.write(0, image.bytes)
}

/** The old table of snapshots, which is one cluster, is free. */
function forget(image: Bytes, offset: number): void {
  const index = Math.floor(offset / image.cluster)
  const perBlock = image.cluster / 2
  const block = Number(
    image.view.getBigUint64(image.header.refcountTableOffset + Math.floor(index / perBlock) * 8),
  )
  image.view.setUint16(block + (index % perBlock) * 2, 0)
}

/** The bytes of an image whose disk is what a snapshot of `file` holds; only to be read. */
export async function snapshotBytes(file: BlockNode, index: number): Promise<Uint8Array> {
  const image = await Bytes.of(file)
  const snapshot = image.snapshots[index]!
  image.view.setUint32(HEADER_FIELD.l1Size, snapshot.l1Size)
  image.view.setBigUint64(HEADER_FIELD.l1TableOffset, snapshot.l1TableOffset)
  image.view.setBigUint64(HEADER_FIELD.size, snapshot.diskSize!)
  return image.bytes
}
