/** The two headers of an open file, and how they are changed: never the current one. */
import { type BlockChild, BlockError, Mutex } from '@vmblock/block-core/driver'
import { type Guid, randomGuid } from './format/guid.ts'
import {
  currentHeader,
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  HEADER_OFFSETS,
  type Header,
} from './format/header.ts'
import type { Source } from './log-search.ts'

const MAX_SEQUENCE = 2n ** 64n - 1n

/** What a session changes in the headers. */
export type HeaderChange = Partial<Pick<Header, 'dataWriteGuid' | 'logGuid'>>

/** See the head of this file. */
export class Headers {
  #current: Header
  #index: 0 | 1
  /** One for each session that writes. */
  readonly #fileWriteGuid: Guid = randomGuid()
  readonly #lock = new Mutex()

  private constructor(current: Header, index: 0 | 1) {
    this.#current = current
    this.#index = index
  }

  /** @throws BlockError EINVAL if neither is valid; errors of the file */
  static async read(file: Source): Promise<Headers> {
    const both: (Header | undefined)[] = []
    for (const offset of HEADER_OFFSETS) {
      const bytes = new Uint8Array(HEADER_BYTES)
      await file.read(offset, bytes)
      both.push(decodeHeader(bytes))
    }
    const index = currentHeader(both[0], both[1])
    return new Headers(both[index]!, index)
  }

  /** The header that counts. */
  get current(): Header {
    return this.#current
  }

  /**
   * Changes both headers, one after the other, so that one of them is whole at any time; and makes everything that was
   * written before durable. If it fails, either the old or the new values may be on disk.
   *
   * @throws BlockError EFBIG if the sequence numbers are used up; errors of the file
   */
  update(file: BlockChild, change: HeaderChange): Promise<void> {
    return this.#lock.run(async () => {
      await this.#updateOther(file, change)
      // The second as well: if the first is damaged later, the other must not bring back a log that is long gone.
      await this.#updateOther(file, change)
    })
  }

  async #updateOther(file: BlockChild, change: HeaderChange): Promise<void> {
    const { sequence } = this.#current
    if (sequence >= MAX_SEQUENCE - 1n)
      throw new BlockError('EFBIG', 'the sequence numbers of the VHDX headers are used up')
    const next: Header = {
      ...this.#current,
      ...change,
      fileWriteGuid: this.#fileWriteGuid,
      sequence: sequence + 1n,
    }
    const index = this.#index === 0 ? 1 : 0
    await file.write(HEADER_OFFSETS[index], encodeHeader(next))
    await file.flush()
    this.#current = next
    this.#index = index
  }
}
