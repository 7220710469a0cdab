/** The `http` and `https` protocol: reads a disk on a web server. Runs wherever there is `fetch`. */

import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import { bool, integer, objectOf, size, text } from '../text/options.ts'
import { ChunkCache } from './chunk-cache.ts'
import { HttpSource } from './http-source.ts'
import { shownUrl } from './http-url.ts'
import { readOnlyDisk, requireReadOnly } from './read-only-disk.ts'

const KIB = 1024

/** Fewest bytes fetched: at 10 MB/s the transfer takes as long as the round trip of the request. */
const CHUNK = 64 * KIB

const isFetch = (value: unknown): value is typeof fetch => typeof value === 'function'

/**
 * A file that a web server serves by range requests. Flushing does nothing, since nothing is written. The
 * server must send `Content-Range`, and expose it to pages of other origins
 * (`Access-Control-Expose-Headers`); with an `ETag` exposed as well, a change of the file during reading is
 * noticed. Options that QEMU's driver has too are named as there (`url`, `readahead`, `timeout`); cookies are
 * left to the browser. A login in the URL is sent as a header (Basic); names and messages show neither the
 * login nor the query.
 *
 * If dates or weak tags differ, repeating the request tells mirrors from a changed file; for mirrors whose
 * strong ETags differ, `ignore-validators` declares the file to be the same. `close()` lets requests in
 * flight continue, for `timeout` seconds in all and without another attempt; `crash()` ends them at once.
 */
export const http = defineDriver({
  name: 'http',
  kind: 'protocol',
  prefixes: ['http', 'https'],
  options: {
    url: text('URL of the image'),
    readahead: size('Bytes to fetch ahead for a sequential reader', 1024 * KIB),
    cacheSize: size('Bytes to keep of what was fetched', 16 * 1024 * KIB),
    timeout: integer('Seconds without a byte after which a request has failed', 30),
    retries: integer('How often a failed request is repeated', 3),
    retryDelay: integer('Milliseconds before the first repetition; doubled each time', 200),
    ignoreValidators: bool('Do not compare ETag and Last-Modified: the file is known not to change', false),
    fetch: objectOf(isFetch, 'a function', 'what makes the requests, in place of the global fetch'),
  },

  parseFilename: (filename) => ({ url: filename }),

  nameFromOptions({ url, ...rest }) {
    const isAll = typeof url === 'string' && Object.keys(rest).every((key) => key === 'filename')
    return isAll ? shownUrl(url) : undefined
  },

  shown: shownUrl,

  async open({ options, readOnly }) {
    const { url, readahead, cacheSize, ...settings } = options
    if (url === undefined) throw new BlockError('EINVAL', `The 'http' block driver requires a url`)
    if (settings.timeout === 0) throw new BlockError('EINVAL', `Parameter 'timeout' must not be 0`)
    requireReadOnly('http', readOnly)
    const source = new HttpSource({ url, ...settings })
    const head = await source.open(CHUNK)
    const cache = new ChunkCache(source, { chunk: CHUNK, readAhead: readahead, capacity: cacheSize })
    cache.put(0, head)
    return readOnlyDisk({
      source,
      cache,
      stop: () => source.stop(),
      setPatience: (how) => source.setPatience(how),
    })
  },
})
