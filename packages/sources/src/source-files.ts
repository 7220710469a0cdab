/** The files behind the sources that are the same everywhere: memory, Blobs, files of web servers. */
import { openMemory } from '@vmblock/block-core'
import { contentOf } from './check-source.ts'
import type { SourceFile } from './open-source.ts'
import type { BlobSource, MemorySource, UrlSource } from './source.ts'

/** @throws BlockError EINVAL for bytes that are none */
export function memoryFile(source: MemorySource): SourceFile {
  const { readOnly = false } = source
  const content = contentOf(source)
  const bytes =
    typeof content === 'number' ? { driver: 'memory', size: content } : openMemory(content, { readOnly })
  return { bytes, readOnly }
}

/** A `Blob`; a `File` has a name. */
export function blobFile({ blob }: BlobSource): SourceFile {
  const { name } = blob as Partial<File>
  return {
    bytes: { driver: 'blob', blob },
    readOnly: true,
    ...(typeof name === 'string' && { name }),
  }
}

/** A file of a web server. */
export function urlFile({ url, readAhead: readahead, ...rest }: UrlSource): SourceFile {
  const { format: _, readOnly: __, ...more } = rest
  const given = Object.entries({ readahead, ...more }).filter(([, value]) => value !== undefined)
  const name = String(url)
  return {
    bytes: { driver: 'http', url: name, ...Object.fromEntries(given) },
    readOnly: true,
    name: name.replace(/[?#].*$/, ''),
  }
}
