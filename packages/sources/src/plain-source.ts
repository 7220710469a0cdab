/** Sources that are values (a path, a URL, a Blob, bytes, a handle) as the objects that they stand for. */
import { isBlockNode } from '@vmblock/block-core'
import { isPlain } from '@vmblock/block-core/driver'
import type { ImageSource } from './source.ts'

/** What values stand for: the part that differs between the entries. */
export interface Meanings {
  /** A string, or a `URL`. @throws BlockError EINVAL for one that names nothing here */
  named(name: string | URL): ImageSource
  /** What the handle of a file stands for; undefined for a value that is no such handle. */
  handle(value: object): ImageSource | undefined | Promise<ImageSource | undefined>
}

// No instanceof: objects of other realms (frames) are not instances here.
const isUrl = (value: object): value is URL => typeof (value as Partial<URL>).href === 'string'
const isBlob = ({ arrayBuffer, slice }: Partial<Blob>): boolean =>
  typeof arrayBuffer === 'function' && typeof slice === 'function'
const isBytes = (value: object): boolean =>
  ArrayBuffer.isView(value) || /^\[object (Shared)?ArrayBuffer\]$/.test(Object.prototype.toString.call(value))

/**
 * Turns a value into the source that it stands for, also in an overlay and its base. What stands for nothing is
 * returned unchanged, for {@link requireSource} to refuse.
 *
 * @throws BlockError as {@link Meanings.named}; the host's error for a handle of a file that is gone
 */
export async function plainSource(source: unknown, meanings: Meanings): Promise<unknown> {
  if (typeof source === 'string') return meanings.named(source)
  if (typeof source !== 'object' || source === null || isBlockNode(source)) return source
  if (isPlain(source)) {
    if (!('overlay' in source && 'base' in source)) return source
    const { overlay, base } = source
    return {
      ...source,
      overlay: overlay === 'memory' ? overlay : await plainSource(overlay, meanings),
      base: await plainSource(base, meanings),
    }
  }
  if (isUrl(source)) return meanings.named(source)
  if (isBlob(source)) return { blob: source }
  if (isBytes(source)) return { memory: source }
  return (await meanings.handle(source)) ?? source
}
