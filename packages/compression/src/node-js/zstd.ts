/**
 * zstd compiled for the processor where it can be had, else in WebAssembly. Both keep what they work with: Node's own module (22.15 and
 * later) makes it anew for each block, which takes longer than the work. Threads compress; small blocks are decompressed on the calling thread, for that takes less time than to
 * hand them over. Without the former, Node's own
 * is quicker for the first blocks, before WebAssembly is compiled, and is there where that is forbidden.
 */
import { Buffer } from 'node:buffer'
import * as zlib from 'node:zlib'
import { SMALL } from '../shared/codec.ts'
import { packed } from '../shared/packed.ts'
import { ZSTD } from '../shared/zstd-binary.ts'
import { decodeFrames } from '../shared/zstd-frames.ts'
import { makeZstd, type Zstd } from '../shared/zstd-instance.ts'
import { koffiFile } from './koffi-file.ts'
import { findNative, type NativePlace, type NativeZstd, openNative } from './native-zstd.ts'
import { NoThreads, Threads, type Work } from './threads.ts'

/** What this file uses of Node's own; the types are those of Node 20, which has none of it. */
interface NodeZstd {
  zstdDecompressSync(data: Uint8Array, options: object): Uint8Array
  zstdCompressSync(data: Uint8Array, options: object): Uint8Array
  readonly constants: { readonly ZSTD_c_compressionLevel: number }
}

const OWN: NodeZstd | undefined = 'zstdDecompressSync' in zlib ? (zlib as unknown as NodeZstd) : undefined

/** Not as in pages: to load the streams of the web takes longer than all the rest. */
const compileZstd = async (): Promise<WebAssembly.Module> =>
  WebAssembly.compile(zlib.inflateRawSync(Buffer.from(ZSTD, 'base64')))

/** Looked for once, with the first block. */
let search: { readonly found: NativeZstd | undefined } | undefined

function native(): NativeZstd | undefined {
  search ??= { found: findNative(koffiFile) }
  return search.found
}

/** What threads are given. */
interface Given {
  readonly place?: NativePlace
  /** Compiled; or, beside a place, as zstd-binary.ts has it. */
  readonly module: WebAssembly.Module | string
}

const DECOMPRESS = 0
const COMPRESS = 1

/** Runs in a thread; refers to nothing outside of itself. */
const makeWork =
  (make: typeof makeZstd, open: typeof openNative) =>
  async ({ place, module }: Given): Promise<readonly Work[]> => {
    // biome-ignore lint/style/noRestrictedGlobals: it runs in Node.js alone, and can import nothing
    const builtin = process.getBuiltinModule
    const load = async (): Promise<Zstd> => {
      try {
        if (place) return open(builtin('node:module').createRequire(place.koffi)(place.koffi), place.library)
      } catch {
        // What the process may load, a thread may not: some runtimes are like that.
      }
      if (typeof module !== 'string') return make(module)
      return make(
        await WebAssembly.compile(
          builtin('node:zlib').inflateRawSync(builtin('node:buffer').Buffer.from(module, 'base64')),
        ),
      )
    }
    const zstd = await load()
    return [(data, into) => zstd.decompress(data, into), (data, into) => zstd.compress(data, into)]
  }

const threads = new Threads({
  name: 'zstd',
  makeWork: `(${makeWork})(${makeZstd}, ${openNative})`,
  load: async (): Promise<Given> => {
    const place = native()?.place
    return place ? { place, module: ZSTD } : { module: await compileZstd() }
  },
})

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number): Promise<Uint8Array> {
  // It is filled, or not given away: to zero it first takes longer than to decompress it.
  const block = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer, 0, size)
  await decompressInto(data, block)
  return block
}

/** Fills `into` with the block in `data`. */
const decompressInto = (data: Uint8Array, into: Uint8Array): Promise<void> =>
  decodeFrames(data, into, into.length <= SMALL ? here : onThread)

/** @see Codec.readPacked */
export const readPacked = packed(decompressInto)

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  // What does not fit saves nothing.
  const into = new Uint8Array(block.length)
  const bytes = await threads.run(COMPRESS, block, into).catch(otherwise(() => compressHere(block, into)))
  return bytes < block.length ? into.subarray(0, bytes) : undefined
}

const onThread = (frame: Uint8Array, into: Uint8Array): Promise<number> =>
  threads.run(DECOMPRESS, frame, into).catch(otherwise(async () => here(frame, into)))

/** Does it where there are no threads. */
const otherwise =
  (work: () => Promise<number>) =>
  (error: unknown): Promise<number> => {
    if (error instanceof NoThreads) return work()
    throw error
  }

/** That of the calling thread, once it is there. */
let zstd: Zstd | undefined
let loading: Promise<Zstd> | undefined

/** @throws Error where WebAssembly is forbidden */
function instance(): Promise<Zstd> {
  loading ??= compileZstd()
    .then(makeZstd)
    .then((made) => {
      zstd = made
      return made
    })
  return loading
}

function here(frame: Uint8Array, into: Uint8Array): number | Promise<number> {
  zstd ??= native()?.zstd
  if (zstd) return zstd.decompress(frame, into)
  const coming = instance()
  if (!OWN) return coming.then((made) => made.decompress(frame, into))
  // Where it never comes, Node's own goes on.
  coming.catch(() => undefined)
  const room = into.length
  const content = OWN.zstdDecompressSync(frame, { maxOutputLength: room, chunkSize: room + 64 })
  into.set(content)
  return content.length
}

async function compressHere(block: Uint8Array, into: Uint8Array): Promise<number> {
  zstd ??= native()?.zstd
  if (zstd) return zstd.compress(block, into)
  if (!OWN) return (await instance()).compress(block, into)
  const data = OWN.zstdCompressSync(block, {
    params: { [OWN.constants.ZSTD_c_compressionLevel]: 3 },
    // Known before it begins: so the frame is one segment, for which readers need no window.
    pledgedSrcSize: block.length,
    chunkSize: Math.max(block.length, 64),
  })
  if (data.length < block.length) into.set(data)
  return data.length
}
