/**
 * Raw deflate in pages. The platform's streams know one window only, which is too large for readers of qcow2; to
 * decompress they are no quicker, and do not tell what follows the stream from broken data.
 */
import { deflateRaw, Inflate } from 'pako'
import { DEFLATE, tooShort } from '../shared/deflate.ts'
import { packed } from '../shared/packed.ts'

/** Thrown to stop a stream that goes on behind the block. */
const ENOUGH = new Error('The block is complete')

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number): Promise<Uint8Array> {
  const inflate = new Inflate({ raw: true, chunkSize: size })
  let block: Uint8Array | undefined
  inflate.onData = (chunk: Uint8Array) => {
    if (block) throw ENOUGH
    block = chunk
  }
  try {
    inflate.push(data, true)
  } catch (error) {
    if (error !== ENOUGH) throw error
  }
  // Data is broken even if what is broken follows the block, as for QEMU; more data is ignored.
  if (inflate.err < 0 && inflate.err !== Z_BUF_ERROR)
    throw new Error(inflate.msg || 'The deflated data is broken')
  if (!block || block.length < size) throw tooShort()
  return block
}

/** Fills `into` with the block in `data`. */
async function decompressInto(data: Uint8Array, into: Uint8Array): Promise<void> {
  into.set(await decompress(data, into.length))
}

/** The input ended, or there is no room for more output. */
const Z_BUF_ERROR = -5

/** @see Codec.readPacked */
export const readPacked = packed(decompressInto)

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  const data = deflateRaw(block, DEFLATE)
  return data.length < block.length ? data : undefined
}
