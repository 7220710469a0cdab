/** The `blob` protocol: reads a File that the user picked, or any other Blob. */

import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import { objectOf, size } from '../text/options.ts'
import { ChunkCache } from './chunk-cache.ts'
import { readOnlyDisk, requireReadOnly } from './read-only-disk.ts'
import { fromWebError } from './web-error.ts'

const KIB = 1024

/** Also true for Blobs of other realms: a page may have picked a File in a frame. */
const isBlob = (value: unknown): value is Blob =>
  value instanceof Blob ||
  (['[object Blob]', '[object File]'].includes(Object.prototype.toString.call(value)) &&
    typeof (value as Partial<Blob>).slice === 'function')

/**
 * The bytes of a Blob. Flushing does nothing, since nothing is written. Every read takes milliseconds,
 * whatever its length, so more is read than requested. A File that changed after it was picked can no longer
 * be read: reads fail with EIO.
 */
export const blob = defineDriver({
  name: 'blob',
  kind: 'protocol',
  options: {
    blob: objectOf(isBlob, 'a Blob or File', 'the bytes of the disk'),
    readahead: size('Bytes to read ahead for a sequential reader', 1024 * KIB),
    cacheSize: size('Bytes to keep of what was read', 4 * 1024 * KIB),
  },

  async open({ options, readOnly }) {
    const { blob: content, readahead, cacheSize } = options
    if (!content) throw new BlockError('EINVAL', `The 'blob' block driver requires a blob`)
    requireReadOnly('blob', readOnly)
    const source = {
      size: content.size,
      async fetch(offset: number, into: Uint8Array): Promise<void> {
        try {
          into.set(new Uint8Array(await content.slice(offset, offset + into.length).arrayBuffer()))
        } catch (error) {
          throw fromWebError(error, 'Could not read the file')
        }
      },
    }
    const cache = new ChunkCache(source, { chunk: 64 * KIB, readAhead: readahead, capacity: cacheSize })
    return readOnlyDisk({ source, cache })
  },
})
