/** What an extent is: a part of the disk. Offsets count from its start, in bytes. */
import type { BlockChild, BlockStatus, WriteFlags } from '@vmblock/block-core/driver'

/** Whatever holds a part of the disk. Requests lie within it. */
export interface Extent {
  /** As the descriptor calls it; empty for the one extent that is the file itself. */
  readonly type: string
  /** Guest offset. */
  readonly start: number
  readonly bytes: number
  /** The file that holds it; undefined for zeroes. */
  readonly file: BlockChild | undefined
  /** Bytes of a grain; 0: there are none. */
  readonly grainSize: number
  readonly isCompressed: boolean

  read(offset: number, into: Uint8Array): Promise<void>
  write(offset: number, from: Uint8Array): Promise<void>
  /** @throws BlockError ENOTSUP if zeroes have to be written as data */
  writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void>
  discard(offset: number, bytes: number): Promise<void>
  /** The status of one run, perhaps shorter than the state lasts. */
  status(offset: number, bytes: number): Promise<BlockStatus>
  /** Makes everything durable. */
  flush(): Promise<void>
  /** Forgets what is not on disk. */
  drop(): void
  /** @throws BlockError if it cannot be written */
  requireWritable(): void
}
