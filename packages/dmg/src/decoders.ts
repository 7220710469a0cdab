/** What decodes each type of chunk, loaded with the first chunk that needs it. */
import { loadOnce } from '@vmblock/block-core/driver'
import { loadZlib } from '@vmblock/compression'
import { TYPE } from './format/chunks.ts'

/**
 * Decodes a chunk of a known size. It may return at once: then the chunk is decoded on the calling thread.
 *
 * @throws Error if the data is broken, or does not give exactly that
 */
export type Decode = (data: Uint8Array, size: number) => Uint8Array | Promise<Uint8Array>

/** A type of chunks that are compressed. */
export interface Compression {
  /** For messages. */
  readonly name: string
  /** @throws BlockError EIO if the code cannot be loaded */
  load(): Promise<Decode>
}

const named = (name: string, load: () => Promise<Decode>): Compression => ({
  name,
  load: loadOnce(`decompressing dmg images with ${name}`, load),
})

/** By the type of chunk. */
export const COMPRESSIONS: ReadonlyMap<number, Compression> = new Map([
  [TYPE.adc, named('ADC', async () => (await import('./decode/adc.ts')).decodeAdc)],
  [TYPE.zlib, named('zlib', async () => (await loadZlib()).decompress)],
  [TYPE.bzip2, named('bzip2', async () => (await import('./decode/bzip2.ts')).decodeBzip2)],
  [TYPE.lzfse, named('LZFSE', async () => (await import('./decode/lzfse.ts')).decodeLzfse)],
  [TYPE.lzma, named('LZMA', async () => (await import('./decode/xz.ts')).decodeXz)],
])
