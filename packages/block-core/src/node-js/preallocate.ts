/** Resizing a host file, and filling the added part: `handle_aiocb_truncate` of block/file-posix.c. */
import { alignUp, SECTOR } from '../base/bits.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { Preallocation } from '../contract/requests.ts'
import type { HostCalls } from './host-calls.ts'
import { fromHostError } from './host-error.ts'
import { fsync, ftruncate } from './host-fs.ts'
import type { IoEngine } from './io-engine.ts'

/** Preallocation writes zeroes in pieces of this many bytes. */
const PIECE = 1024 * 1024
const PAGE = 4096

/** The file to resize. */
export interface ResizableFile {
  readonly fd: number
  readonly engine: IoEngine
  /** Bytes: offsets and lengths of writes must be multiples of this. */
  readonly alignment: number
}

/**
 * Sets the length of a file, in bytes. `falloc` reserves the new part and `full` writes it; without a system
 * call for `falloc` both write zeroes, as `posix_fallocate` does. On failure the old length is restored.
 *
 * @throws BlockError ENOTSUP for a preallocation that does not apply; the host's error
 */
export async function resizeFile(
  file: ResizableFile,
  from: number,
  to: number,
  preallocation: Preallocation,
  calls: HostCalls,
): Promise<void> {
  if (to < from && preallocation !== 'off')
    throw new BlockError('ENOTSUP', 'Cannot use preallocation for shrinking files')
  requirePreallocation(preallocation)
  if (preallocation === 'off') {
    await setLength(file.fd, to)
    if (from === 0 && to >= SECTOR) await allocateFirstBlock(file, to)
    return
  }
  if (to === from) return
  try {
    if (preallocation === 'falloc' && (await tryAllocate(file.fd, from, to - from, calls))) return
    // With the length known beforehand, the file system allocates in fewer pieces.
    await setLength(file.fd, to)
    await writeZeroes(file, from, to)
    if (preallocation === 'full') await host(fsync(file.fd), 'Could not flush file to disk')
  } catch (error) {
    // After a crash of the node the file may not change any more.
    if (!isBlockError(error, 'ECANCELED')) await ftruncate(file.fd, from).catch(() => undefined)
    throw error
  }
}

/** @throws BlockError ENOTSUP for a preallocation that files do not have */
export function requirePreallocation(preallocation: Preallocation): void {
  if (preallocation === 'metadata')
    throw new BlockError('ENOTSUP', `Unsupported preallocation mode: ${preallocation}`)
}

/**
 * On some file systems a hole at the start of a file allows O_DIRECT reads of any length, so that the
 * alignment cannot be probed; hence QEMU writes the first block of a new file. Failure is harmless.
 */
async function allocateFirstBlock({ fd, engine }: ResizableFile, length: number): Promise<void> {
  await engine.pwrite(fd, new Uint8Array(length < PAGE ? SECTOR : PAGE), 0).catch(() => undefined)
}

const host = (step: Promise<void>, what: string): Promise<void> =>
  step.catch((error: unknown) => {
    throw fromHostError(error, what)
  })

const setLength = (fd: number, length: number): Promise<void> =>
  host(ftruncate(fd, length), 'Could not resize file')

async function tryAllocate(fd: number, offset: number, bytes: number, calls: HostCalls): Promise<boolean> {
  if (!calls.allocate) return false
  try {
    await host(calls.allocate(fd, offset, bytes), 'Could not preallocate new data')
    return true
  } catch (error) {
    if (isBlockError(error, 'ENOTSUP')) return false
    throw error
  }
}

async function writeZeroes(
  { fd, engine, alignment }: ResizableFile,
  from: number,
  to: number,
): Promise<void> {
  // The block that holds an unaligned old end is already allocated; bytes written beyond an unaligned new end
  // are cut off.
  const end = alignUp(to, alignment)
  const zeroes = new Uint8Array(PIECE)
  try {
    for (let at = alignUp(from, alignment); at < end; at += PIECE) {
      await engine.pwrite(fd, zeroes.subarray(0, Math.min(PIECE, end - at)), at)
    }
  } catch (error) {
    throw fromHostError((error as Error).cause ?? error, 'Could not write zeros for preallocation')
  }
  if (end > to) await setLength(fd, to)
}
