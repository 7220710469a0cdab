/** Reads the structures from which all others are found: header, L1 table, refcount table. */
import { type BlockChild, BlockError } from '@vmblock/block-core/driver'
import type { RareHeaderCode } from '../format/extensions.ts'
import { Incompatible } from '../format/features.ts'
import { type Header, headerAreaBytes, parseHeader } from '../format/header.ts'

/** Reads and checks the header. @throws BlockError as {@link parseHeader}, or the error of the file */
export async function readHeader(
  file: BlockChild,
  checkMode: boolean,
  loadRare: () => Promise<RareHeaderCode>,
): Promise<Header> {
  const head = new Uint8Array(Math.min(512, file.size))
  await file.read(0, head)
  const bytes = new Uint8Array(Math.min(headerAreaBytes(head), file.size))
  await file.read(0, bytes)
  return parseHeader(bytes, checkMode, loadRare)
}

/** The tables that are always in memory. */
export async function readTables(
  file: BlockChild,
  header: Header,
): Promise<{ l1: Uint8Array; refcountTable: Uint8Array }> {
  const refcountTable = new Uint8Array(header.refcountTableClusters * 2 ** header.clusterBits)
  const l1 = new Uint8Array(header.l1Size * 8)
  if (l1.length > 0) await file.read(header.l1TableOffset, l1)
  if (refcountTable.length > 0) {
    await file.debugEvent('reftable_load')
    await file.read(header.refcountTableOffset, refcountTable)
  }
  return { l1, refcountTable }
}

/** @throws BlockError EACCES for an image that is marked corrupt: only a repair may write to it */
export function requireSound({ incompatible }: Header, nodeName: string): void {
  if ((incompatible & Incompatible.corrupt) !== 0n)
    throw new BlockError('EACCES', 'qcow2: Image is corrupt; cannot be opened read/write', { node: nodeName })
}
