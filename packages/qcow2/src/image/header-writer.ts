/**
 * Changes the header of an open image: all or nothing. A change counts in memory once it is durable; if it
 * fails, the header in memory stays as it was. All others only read the header.
 */
import type { BlockChild } from '@vmblock/block-core/driver'
import type { Header } from '../format/header.ts'
import { type HeaderFields, headerFieldBytes } from '../format/header-layout.ts'
import type { Roots } from './roots.ts'

/**
 * What follows a write that failed, when the disk may hold the old header or the new one: the next flush
 * writes what was changed again (roots.ts), or both are valid and nothing has to be done.
 */
export type AfterFailure = 'write again' | 'either is valid'

/** The part of an open image that the writer needs. */
export interface HeaderOwner {
  readonly file: Pick<BlockChild, 'write'>
  readonly geometry: { readonly clusterSize: number }
  readonly roots: Roots
  flushFile(): Promise<void>
  /** Headers are rarely written as a whole. @throws BlockError EIO if the code cannot be loaded */
  loadMaintenance(): Promise<{
    serializeHeader(header: Header, clusterSize: number, hasSameName: boolean): Uint8Array
  }>
}

/** The only writer of a header, on disk and in memory. */
export class HeaderWriter {
  /** The same object for the life of the image. */
  readonly header: Header
  readonly #image: HeaderOwner

  constructor(image: HeaderOwner, header: Header) {
    this.#image = image
    this.header = header
  }

  /**
   * Changes fields that are adjacent on disk, in one write of exactly these fields, durably.
   *
   * @throws the error of the file
   */
  async change(fields: HeaderFields, afterFailure?: AfterFailure): Promise<void> {
    await this.#writeFields(fields, afterFailure)
    this.assume(fields)
  }

  /** Sets or clears one incompatible feature bit, as {@link change} does; others may change meanwhile. */
  async setFeature(bit: bigint, on: boolean, afterFailure?: AfterFailure): Promise<void> {
    await this.#writeFields({ incompatible: this.#withFeature(bit, on) }, afterFailure)
    this.assumeFeature(bit, on)
  }

  /**
   * Changes fields of any kind: rewrites the used part of the header cluster, with extensions and name of the
   * backing file, durably.
   *
   * @throws BlockError ENOSPC if it does not fit in one cluster; EIO if the code for it cannot be loaded: then nothing
   *   has changed; the error of the file
   */
  async rewrite(fields: Partial<Header>, afterFailure?: AfterFailure): Promise<void> {
    const { file, geometry, loadMaintenance } = this.#image
    const { serializeHeader } = await loadMaintenance()
    const write = (header: Header): Promise<void> =>
      file.write(0, serializeHeader(header, geometry.clusterSize, !('backingFile' in fields)))
    await this.#durably(write, fields, afterFailure)
    this.assume(fields)
  }

  /** Changes fields in memory alone: the disk has them already, or may have them. */
  assume(fields: Partial<Header>): void {
    Object.assign(this.header, fields)
  }
  /** Sets or clears one incompatible feature bit in memory alone. */
  assumeFeature(bit: bigint, on: boolean): void {
    this.assume({ incompatible: this.#withFeature(bit, on) })
  }

  #withFeature(bit: bigint, on: boolean): bigint {
    return on ? this.header.incompatible | bit : this.header.incompatible & ~bit
  }

  #writeFields(fields: HeaderFields, afterFailure: AfterFailure | undefined): Promise<void> {
    const write = (header: Header): Promise<void> => {
      const { offset, bytes } = headerFieldBytes(header, fields)
      return this.#image.file.write(offset, bytes)
    }
    return this.#durably(write, fields, afterFailure)
  }

  async #durably(
    write: (header: Header) => Promise<void>,
    fields: Partial<Header>,
    afterFailure: AfterFailure = 'write again',
  ): Promise<void> {
    const { roots } = this.#image
    const change = async (): Promise<void> => {
      await write({ ...this.header, ...fields })
      await this.#image.flushFile()
    }
    await (afterFailure === 'write again' ? roots.change(change, () => write(this.header)) : change())
  }
}
