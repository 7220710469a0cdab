/** An image that tests damage, and the findings of its check. */
import type { BlockNode, CheckFinding, RawOptions, RepairMode } from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import { encodeName } from '../format/encode-name.ts'
import { HEADER_FIELD } from '../format/header.ts'
import { type Snapshot, serializeSnapshotTable } from '../format/snapshot-layout.ts'
import { bytesAt, createImage, filled, open, poke } from './images.ts'

/** Bytes of a cluster. */
export const CLUSTER = 1024
const SIZE = 256 * 1024
/** The flag of an entry. */
export const COPIED = 2n ** 63n

/** What goes with words of each kind, in a finding that is not repaired. */
export const DANGER = { kind: 'corruption', dataAtRisk: true, repaired: false } as const
/** See {@link DANGER}. */
export const FLAW = { kind: 'corruption', dataAtRisk: false, repaired: false } as const
/** See {@link DANGER}. */
export const LEAK = { kind: 'leak', dataAtRisk: false, repaired: false } as const
/** See {@link DANGER}. */
export const UNREADABLE = { kind: 'failure', dataAtRisk: true, repaired: false } as const
/** See {@link DANGER}. */
export const FAILURE = { kind: 'failure', dataAtRisk: false, repaired: false } as const

/** An image of two clusters of data, at guest offsets 0 and 1024; offsets in bytes. */
export class Patient {
  readonly file: BlockNode
  /** The bytes of the image before it is damaged. */
  readonly view: DataView

  private constructor(file: BlockNode, bytes: Uint8Array) {
    this.file = file
    this.view = new DataView(bytes.buffer)
  }

  /** Makes the image; creation options as for `qemu-img create -o`. */
  static async make(options: RawOptions = {}, dataFile?: BlockNode): Promise<Patient> {
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...options }, dataFile)
    const node = await open(file, dataFile && { 'data-file': dataFile })
    await node.write(0, filled(1, CLUSTER))
    await node.write(CLUSTER, filled(2, CLUSTER))
    await node.close()
    return new Patient(file, await bytesAt(file, 0, file.size))
  }

  /** Host offset of the active L1 table. */
  get l1(): number {
    return this.word(HEADER_FIELD.l1TableOffset)
  }
  /** Host offset of the L2 table of the data. */
  get l2(): number {
    return this.word(this.l1)
  }
  /** Host offset of the refcount table. */
  get refcountTable(): number {
    return this.word(HEADER_FIELD.refcountTableOffset)
  }
  /** Host offset of the first refcount block. */
  get refblock(): number {
    return this.word(this.refcountTable)
  }
  /** The end of the file in whole clusters. */
  get end(): number {
    return Math.ceil(this.file.size / CLUSTER) * CLUSTER
  }
  /** The host cluster of the second guest cluster. */
  get data(): number {
    return this.word(this.l2 + 8)
  }

  /** An offset in the image, without COPIED. */
  word(at: number): number {
    return Number(this.view.getBigUint64(at) & ~COPIED)
  }

  /** Writes a 64-bit word. */
  async set(at: number, value: bigint | number): Promise<void> {
    const bytes = new DataView(new ArrayBuffer(8))
    bytes.setBigUint64(0, BigInt(value))
    await this.file.write(at, new Uint8Array(bytes.buffer))
  }

  /** Gives the image a table of snapshots, at its end, and counts it. */
  async addSnapshots(...snapshots: readonly Partial<Snapshot>[]): Promise<number> {
    const offset = this.end
    const entries = snapshots.map((snapshot) => ({ ...SNAPSHOT, ...snapshot }))
    const table = serializeSnapshotTable(entries, SIZE)
    await this.file.write(offset, table)
    await poke(this.file, HEADER_FIELD.nbSnapshots, [0, 0, 0, snapshots.length])
    await this.set(HEADER_FIELD.snapshotsOffset, offset)
    await this.count(offset)
    return offset
  }

  /** Sets the refcount of the cluster at a host offset. */
  async count(offset: number, refcount = 1): Promise<void> {
    await poke(this.file, this.refblock + (offset / CLUSTER) * 2, [0, refcount])
  }
}

const SNAPSHOT: Snapshot = {
  l1TableOffset: 0n,
  l1Size: 0,
  id: encodeName('1'),
  name: encodeName('before'),
  dateSec: 0,
  dateNsec: 0,
  vmClockNsec: 0n,
  vmStateSize: 0n,
  diskSize: BigInt(SIZE),
  icount: undefined,
  extraDataSize: 16,
  unknownExtraData: new Uint8Array(0),
}

/** The findings of a check, in order, and as a list keeps them; and why it rejected, if it did. */
export async function checkOf(
  file: BlockNode,
  repair?: RepairMode,
  dataFile?: BlockNode,
): Promise<{ told: CheckFinding[]; kept: CheckFinding[]; failure?: unknown }> {
  const node = await open(file, {
    'check-mode': true,
    ...(repair ? {} : { 'read-only': true }),
    ...(dataFile && { 'data-file': dataFile }),
  })
  const told: CheckFinding[] = []
  const list = new FindingList()
  const report = (finding: CheckFinding): void => {
    told.push(finding)
    list.add(finding)
  }
  const failure = await node.check({ report, ...(repair && { repair }) }).then(
    () => undefined,
    (error: unknown) => error,
  )
  await node.close()
  return { told, kept: list.findings, ...(failure !== undefined && { failure }) }
}
