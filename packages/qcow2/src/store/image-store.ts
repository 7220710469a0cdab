/** Guest data in clusters of the image file itself, which have refcounts. */
import type { BlockStatus } from '@vmblock/block-core/driver'
import { prefixedHex } from '../format/words.ts'
import type { Allocated, ClusterStore } from '../image/cluster-store.ts'
import type { FreeReason } from '../image/frees.ts'
import type { Image } from '../image/image.ts'
import { allocateClusters, releaseClusters } from '../refcounts/allocate.ts'

/** The store of an image without an external data file. */
export class ImageStore implements ClusterStore {
  readonly #image: Image

  constructor(image: Image) {
    this.#image = image
  }

  read(host: number, into: Uint8Array): Promise<void> {
    return this.#image.file.read(host, into)
  }
  write(host: number, from: Uint8Array): Promise<void> {
    return this.#image.file.write(host, from)
  }
  flush(): Promise<void> {
    return this.#image.file.flush()
  }
  locate(host: number): BlockStatus['host'] {
    return { child: this.#image.file, offset: host }
  }

  guard(host: number, bytes: number): Promise<void> | undefined {
    return this.#image.overlaps.guard(host, bytes)
  }
  allocate(_guest: number, count: number): Allocated | Promise<Allocated> {
    return allocateClusters(this.#image, count)
  }
  release(host: number, bytes: number): Promise<void> | undefined {
    return this.#image.lock.run(() => releaseClusters(this.#image, host, bytes))
  }
  free(host: number, bytes: number, reason: FreeReason): void {
    const { geometry, corruption, frees } = this.#image
    if (host % geometry.clusterSize === 0) frees.add(host, bytes, reason)
    else void corruption.signal(`Cannot free unaligned cluster ${prefixedHex(host)}`, false)
  }
  fileEndFor(hostEnd: number): number {
    return hostEnd
  }
}
