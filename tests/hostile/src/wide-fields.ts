/**
 * Every 64-bit field of the formats: its offset, and the operation that refuses a value beyond JavaScript's
 * numbers.
 */

/** A field. */
export interface WideField {
  readonly name: string
  /** Name of a seed. */
  readonly seed: string
  /** Byte offset, found in the image's bytes. */
  at(view: DataView): number
  /** Whether the field is in QED's byte order. */
  readonly little?: true
  /**
   * The operation that meets such a value: an open, a read, a write, or a check, which reports it. A
   * field that is `kept` is not used, and must not change when the image is written.
   */
  readonly met: 'open' | 'read' | 'write' | 'check' | 'kept'
  /** An image with it opens for reading only. */
  readonly refusesWriting?: boolean
  /** Part of the error message. */
  readonly says?: RegExp
  /** Values to use instead, for fields whose highest bits are flags or reserved. */
  readonly values?: readonly bigint[]
}

/** 2^53, 2^63 and 2^64-1. */
export const WIDE_VALUES: readonly bigint[] = [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]

const offset = (view: DataView, at: number): number => Number(view.getBigUint64(at) & 0x00ff_ffff_ffff_fe00n)

const l1 = (view: DataView): number => offset(view, 40)
const l2 = (view: DataView): number => offset(view, l1(view))
const refcountTable = (view: DataView): number => offset(view, 48)
const snapshots = (view: DataView): number => offset(view, 64)
const qedL1 = (view: DataView): number => Number(view.getBigUint64(40, true))

/** The offset of the bitmaps extension's data. */
function bitmapExtension(view: DataView): number {
  for (let at = view.getUint32(100); ; at += 8 + Math.ceil(view.getUint32(at + 4) / 8) * 8)
    if (view.getUint32(at) === 0x2385_2875) return at + 8
}
const bitmapDirectory = (view: DataView): number => offset(view, bitmapExtension(view) + 16)

/** Values of an entry whose highest bits are flags: offsets that are too large. */
const FAR = [2n ** 53n, 2n ** 56n - 512n, 2n ** 55n + 2n ** 63n]

/** All wide fields. */
export const WIDE_FIELDS: readonly WideField[] = [
  { name: 'backing file offset', seed: 'plain', at: () => 8, met: 'open', says: /backing file offset/ },
  { name: 'size', seed: 'plain', at: () => 24, met: 'open', says: /L1 table is too small|too big|2\^53/ },
  { name: 'L1 offset', seed: 'plain', at: () => 40, met: 'open', says: /Active L1 table offset/ },
  {
    name: 'refcount table offset',
    seed: 'plain',
    at: () => 48,
    met: 'open',
    says: /Reference count table offset/,
  },
  { name: 'snapshots offset', seed: 'snapshots', at: () => 64, met: 'open', says: /Snapshot table offset/ },
  { name: 'L1 entry', seed: 'plain', at: l1, met: 'read', values: FAR },
  { name: 'L2 entry', seed: 'plain', at: l2, met: 'read', values: FAR },
  { name: 'compressed L2 entry', seed: 'plain', at: l2, met: 'read', values: [2n ** 62n + 2n ** 53n - 7n] },
  {
    name: 'refcount table entry',
    seed: 'plain',
    at: refcountTable,
    met: 'check',
    values: [...FAR, 2n ** 63n],
  },
  { name: 'snapshot: L1 offset', seed: 'snapshots', at: snapshots, met: 'check' },
  {
    name: 'snapshot: L1 offset, written beside',
    seed: 'snapshots',
    at: snapshots,
    met: 'write',
    says: /Snapshot L1 table offset/,
  },
  { name: 'snapshot: clock', seed: 'snapshots', at: (view) => snapshots(view) + 24, met: 'kept' },
  { name: 'snapshot: VM state', seed: 'snapshots', at: (view) => snapshots(view) + 40, met: 'kept' },
  { name: 'snapshot: disk size', seed: 'snapshots', at: (view) => snapshots(view) + 48, met: 'kept' },
  {
    name: 'bitmaps: directory size',
    seed: 'bitmaps',
    at: (view) => bitmapExtension(view) + 8,
    met: 'open',
    says: /bitmap directory size/,
  },
  {
    name: 'bitmaps: directory offset',
    seed: 'bitmaps',
    at: (view) => bitmapExtension(view) + 16,
    met: 'check',
    refusesWriting: true,
  },
  { name: 'bitmap: table offset', seed: 'bitmaps', at: bitmapDirectory, met: 'check' },
  {
    name: 'bitmap: table entry',
    seed: 'bitmaps',
    at: (view) => offset(view, bitmapDirectory(view)),
    met: 'check',
  },
  {
    name: 'refcount of 64 bits',
    seed: 'wide refcounts',
    at: (view) => offset(view, refcountTable(view)) + 8,
    met: 'check',
    says: /refcount=2\^53 or more/,
  },
  { name: 'QED: L1 offset', seed: 'qed', little: true, at: () => 40, met: 'open', says: /table offset/ },
  { name: 'QED: image size', seed: 'qed', little: true, at: () => 48, met: 'open', says: /image size/ },
  { name: 'QED: features', seed: 'qed', little: true, at: () => 16, met: 'open', says: /features/ },
  { name: 'QED: L1 entry', seed: 'qed', little: true, at: qedL1, met: 'read', says: /outside/ },
  {
    name: 'QED: L2 entry',
    seed: 'qed',
    little: true,
    at: (view) => Number(view.getBigUint64(qedL1(view), true)),
    met: 'read',
    says: /outside/,
  },
]
