/** Extents without tables: all bytes of a file, or zeroes. */
import { type BlockChild, BlockError, type BlockStatus, type WriteFlags } from '@vmblock/block-core/driver'
import type { Extent } from './extent.ts'

/** A part of the disk that is a part of a file, byte for byte. */
export class FlatExtent implements Extent {
  readonly type: string
  readonly start: number
  readonly bytes: number
  readonly file: BlockChild
  readonly grainSize = 0
  readonly isCompressed = false
  /** Where the extent begins in its file, in bytes. */
  readonly #offset: number

  constructor(type: string, start: number, bytes: number, file: BlockChild, offset: number) {
    this.type = type
    this.start = start
    this.bytes = bytes
    this.file = file
    this.#offset = offset
  }

  /** Where it ends in its file, in bytes. */
  get end(): number {
    return this.#offset + this.bytes
  }
  read(offset: number, into: Uint8Array): Promise<void> {
    return this.file.read(this.#offset + offset, into)
  }
  write(offset: number, from: Uint8Array): Promise<void> {
    return this.file.write(this.#offset + offset, from)
  }
  writeZeroes(offset: number, bytes: number, { mayUnmap = false }: WriteFlags): Promise<void> {
    return this.file.writeZeroes(this.#offset + offset, bytes, { mayUnmap })
  }
  discard(offset: number, bytes: number): Promise<void> {
    return this.file.discard(this.#offset + offset, bytes)
  }
  async status(offset: number, bytes: number): Promise<BlockStatus> {
    const host = { child: this.file, offset: this.#offset + offset }
    return { bytes, allocated: true, data: true, zero: false, host, recurse: true }
  }
  flush(): Promise<void> {
    return this.file.flush()
  }
  drop(): void {}
  requireWritable(): void {}
}

/** A part of the disk that has no file, and shows zeroes. */
export class ZeroExtent implements Extent {
  readonly type = 'ZERO'
  readonly start: number
  readonly bytes: number
  readonly file = undefined
  readonly grainSize = 0
  readonly isCompressed = false

  constructor(start: number, bytes: number) {
    this.start = start
    this.bytes = bytes
  }

  async read(_: number, into: Uint8Array): Promise<void> {
    into.fill(0)
  }
  write(offset: number): Promise<void> {
    return Promise.reject(
      new BlockError('EIO', 'An extent of type ZERO cannot hold data', { offset: this.start + offset }),
    )
  }
  async writeZeroes(): Promise<void> {}
  async discard(): Promise<void> {}
  async status(_: number, bytes: number): Promise<BlockStatus> {
    return { bytes, allocated: true, data: false, zero: true }
  }
  async flush(): Promise<void> {}
  drop(): void {}
  requireWritable(): void {}
}
