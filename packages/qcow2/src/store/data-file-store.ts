/**
 * Guest data in an external data file. A guest cluster's host offset is its guest offset: clusters are not
 * allocated, freed or moved, they have no refcounts, and no metadata lies between them.
 */
import type { BlockChild, BlockStatus, Preallocation, WriteFlags } from '@vmblock/block-core/driver'
import type { Allocated, ClusterStore } from '../image/cluster-store.ts'
import type { Image } from '../image/image.ts'

/** The store of an image with an external data file. */
export class DataFileStore implements ClusterStore {
  readonly #image: Image
  readonly #file: BlockChild

  constructor(image: Image, file: BlockChild) {
    this.#image = image
    this.#file = file
  }

  read(host: number, into: Uint8Array): Promise<void> {
    return this.#file.read(host, into)
  }
  write(host: number, from: Uint8Array): Promise<void> {
    return this.#file.write(host, from)
  }
  flush(): Promise<void> {
    return this.#file.flush()
  }
  locate(host: number): BlockStatus['host'] {
    return { child: this.#file, offset: host }
  }

  guard(): undefined {}
  allocate(guest: number): Allocated {
    return { offset: guest, zeroed: guest >= this.#file.size }
  }
  release(): undefined {}
  free(): void {}
  fileEndFor(): number {
    return 0
  }

  get holdsInPlaceWrites(): boolean {
    return this.#image.isDataFileRaw
  }
  /** A raw data file must hold the zeroes itself, whether or not it can discard. */
  beforeZeroing(guest: number, bytes: number, flags: WriteFlags): Promise<void> | undefined {
    return this.#image.isDataFileRaw ? this.#file.writeZeroes(guest, bytes, flags) : undefined
  }
  afterDiscard(guest: number, bytes: number): Promise<void> | undefined {
    return this.#image.settings.passDiscard.request ? this.#file.discard(guest, bytes) : undefined
  }

  async grow(size: number, preallocation: Preallocation): Promise<void> {
    const storage = preallocation === 'metadata' ? 'off' : preallocation
    if (this.#file.size < size) await this.#file.truncate(size, { exact: false, preallocation: storage })
  }
  truncate(size: number): Promise<void> {
    return this.#file.truncate(size, { exact: false })
  }
}
