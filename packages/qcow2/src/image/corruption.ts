/** What happens when an image is found corrupt: a report, the corrupt bit, and no further writes. */
import { BlockError, type DriverEvents } from '@vmblock/block-core/driver'
import { Incompatible } from '../format/features.ts'
import type { CacheCleaner } from './cache-cleaner.ts'
import type { HeaderWriter } from './header-writer.ts'
import type { Ordered } from './write-order.ts'

/** The part of an open image that is concerned. */
export interface Corruptible extends Ordered {
  readonly settings: { readonly nodeName: string }
  readonly events: DriverEvents
  readonly headerWriter: HeaderWriter
  readonly cleaner: CacheCleaner
  writable: boolean
}

/** The broken structure. Host bytes. */
export interface BrokenRange {
  readonly offset: number
  readonly size?: number
}

/** The corruption of one image. */
export class Corruption {
  readonly #image: Corruptible
  /** Corruption was reported: further non-fatal reports are suppressed. */
  #signalled = false
  #stopped = false

  constructor(image: Corruptible) {
    this.#image = image
  }

  /** The image was found corrupt while it was writable: nothing is written to it any more. */
  get stopped(): boolean {
    return this.#stopped
  }

  /**
   * Reports corruption once. If it is fatal and the image is writable, marks the image corrupt and stops the
   * node. QEMU's `qcow2_signal_corruption`.
   *
   * @returns the error for the request that found it
   */
  async signal(message: string, fatal: boolean, at?: BrokenRange): Promise<BlockError> {
    const { settings, events, writable } = this.#image
    const stops = fatal && writable
    const error = new BlockError('EIO', message, { node: settings.nodeName, offset: at?.offset })
    if (this.#signalled && !stops) return error
    this.#signalled = true
    const [what, suppressed] = stops ? ['Marking image as', ''] : ['Image is', 'non-fatal ']
    events.warn(
      `qcow2: ${what} corrupt: ${message}; further ${suppressed}corruption events will be suppressed`,
    )
    if (stops) {
      await this.#mark()
      this.#image.writable = false
      this.#stopped = true
      this.#image.cleaner.stop()
    }
    events.corrupt({ message, fatal: stops, ...at })
    return error
  }

  /** Sets the corrupt bit, as far as the disk lets it. Version 2 has none. */
  async #mark(): Promise<void> {
    const { headerWriter } = this.#image
    const { version, incompatible } = headerWriter.header
    if (version < 3 || (incompatible & Incompatible.corrupt) !== 0n) return
    // In memory first: another report that comes meanwhile must not write it again.
    headerWriter.assumeFeature(Incompatible.corrupt, true)
    await headerWriter.setFeature(Incompatible.corrupt, true, 'either is valid').catch(() => undefined)
  }
}
