/** Short forms of sources, written out: names, bytes and Blobs become the sources that say what they are. */
import { isPlain } from '@vmblock/block-core/driver'

/** @param named the source of a name: a string, or a `URL` */
export function writtenOut(source: unknown, named: (name: string | URL) => object): unknown {
  if (typeof source === 'string') return named(source)
  if (typeof source !== 'object' || source === null || isPlain(source)) return source
  // No instanceof: objects of other realms are not instances here.
  const { href, arrayBuffer } = source as { href?: unknown; arrayBuffer?: unknown }
  if (typeof href === 'string') return named(source as URL)
  if (ArrayBuffer.isView(source) || /ArrayBuffer\]$/.test(Object.prototype.toString.call(source)))
    return { memory: source }
  return typeof arrayBuffer === 'function' ? { blob: source } : source
}
