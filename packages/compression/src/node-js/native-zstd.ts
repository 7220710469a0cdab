/**
 * zstd that is compiled for the processor, which takes little more than half as long as WebAssembly: that of Node.js (22.15 and later), where
 * its program exports the functions, else that of the system. They are called through koffi, an optional peer dependency: if it is not
 * installed, or has no binary for the system, there is none of this.
 *
 * That of Node.js comes first for another reason, too: where the program exports the functions, a library's calls of its own would
 * lead there, into another version.
 */
import { createRequire } from 'node:module'
import { platform } from 'node:process'
import type { Zstd } from '../shared/zstd-instance.ts'

/** The part of koffi that is used here. */
export interface ForeignFunctions {
  /** @param path null: the program itself */
  load(path: string | null): { func(signature: string): (...values: unknown[]) => unknown }
}

/** What threads need to open it, too. */
export interface NativePlace {
  /** The file of koffi. */
  readonly koffi: string
  readonly library: string | null
}

export interface NativeZstd {
  readonly zstd: Zstd
  readonly place: NativePlace
}

/** By platform; without a folder only where the current one is not searched. Windows has none. */
const LIBRARIES: Readonly<Record<string, readonly (string | null)[]>> = {
  linux: [null, 'libzstd.so.1'],
  darwin: [null, ...['/opt/homebrew', '/usr/local', '/opt/local'].map((at) => `${at}/lib/libzstd.1.dylib`)],
}

/**
 * Opens zstd in a library. The function refers to nothing outside of itself: threads are given its text.
 *
 * The memory that zstd works with is freed at the end of each turn of the event loop in which it was used: what is kept for longer would
 * be lost with a thread that is terminated, for no code of it runs then. To get it again takes microseconds, to keep it
 * for all blocks of a turn saves what counts.
 *
 * @throws Error if there is no such library, or one that is too old
 */
export function openNative(koffi: ForeignFunctions, name: string | null): Zstd {
  const library = koffi.load(name)
  const version = library.func('unsigned int ZSTD_versionNumber()')
  // 1.4.0: the oldest whose functions and format are all declared stable.
  if (Number(version()) < 10_400) throw new Error(`zstd ${version()} is too old`)
  const bound = library.func('size_t ZSTD_compressBound(size_t)')
  const compress = library.func('size_t ZSTD_compressCCtx(void *, void *, size_t, void *, size_t, int)')
  const decompress = library.func('size_t ZSTD_decompressDCtx(void *, void *, size_t, void *, size_t)')

  const context = (kind: 'CCtx' | 'DCtx'): (() => unknown) => {
    const create = library.func(`void *ZSTD_create${kind}()`)
    const free = library.func(`size_t ZSTD_free${kind}(void *)`)
    let at: unknown
    return () => {
      if (at) return at
      at = create()
      if (!at) throw new Error('zstd has no memory')
      setImmediate(() => {
        free(at)
        at = undefined
      })
      return at
    }
  }
  const encoder = context('CCtx')
  const decoder = context('DCtx')

  // Errors are the largest numbers of a size_t, of 4 bytes or 8; what is beyond 2^53 arrives as a bigint.
  const checked = (bytes: unknown, room: number): number => {
    if (typeof bytes === 'number' && bytes <= room) return bytes
    throw new Error(`The zstd data is broken (error ${-BigInt.asIntN(32, BigInt(bytes as bigint))})`)
  }
  let output = new Uint8Array(0)
  return {
    compress(block, into) {
      const room = Number(bound(block.length))
      if (output.length < room) output = new Uint8Array(room)
      const bytes = checked(compress(encoder(), output, room, block, block.length, 3), room)
      if (bytes >= into.length) return block.length
      into.set(output.subarray(0, bytes))
      return bytes
    },
    decompress(frame, into) {
      return checked(decompress(decoder(), into, into.length, frame, frame.length), into.length)
    },
  }
}

/** Looks for zstd in the libraries of this system. @param koffi gives the file of koffi, or throws: then there is none */
export function findNative(koffi: () => string): NativeZstd | undefined {
  const libraries = LIBRARIES[platform] ?? []
  if (libraries.length === 0) return undefined
  try {
    const file = koffi()
    const functions = createRequire(file)(file) as ForeignFunctions
    for (const library of libraries)
      try {
        return { zstd: openNative(functions, library), place: { koffi: file, library } }
      } catch {
        // The next.
      }
  } catch {
    // Not installed, not for this system, or not allowed.
  }
  return undefined
}
