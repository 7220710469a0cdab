/** A sparse extent as a part of the disk. */
import type { BlockStatus, WriteFlags } from '@vmblock/block-core/driver'
import type { Extent } from './extent.ts'
import { SparseExtent } from './sparse.ts'
import { readSparse, statusOfSparse } from './sparse-read.ts'
import { writeSparse, zeroSparse } from './sparse-write.ts'

/** The state of {@link SparseExtent} with its verbs. */
export class SparsePart extends SparseExtent implements Extent {
  read(offset: number, into: Uint8Array): Promise<void> {
    return readSparse(this, offset, into)
  }
  write(offset: number, from: Uint8Array): Promise<void> {
    return writeSparse(this, offset, from)
  }
  writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    return zeroSparse(this, offset, bytes, flags)
  }
  /** A grain cannot be given back, and its content is kept: a guest may ask for it again. */
  async discard(): Promise<void> {}
  status(offset: number, bytes: number): Promise<BlockStatus> {
    return statusOfSparse(this, offset, bytes)
  }
}
