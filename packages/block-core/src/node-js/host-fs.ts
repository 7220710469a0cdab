/**
 * The calls of `node:fs` that the `file` driver makes, as promises: on the thread pool, over plain file
 * descriptors. `FileHandle` costs up to three times as much a request, so it is not used.
 */
import * as fs from 'node:fs'
import { promisify } from 'node:util'

/** Opens a file. @returns its descriptor */
export const open = promisify(fs.open)
/** Closes a descriptor. */
export const close = promisify(fs.close)
/** The host's metadata of an open file. */
export const fstat = promisify(fs.fstat)
/** Removes the name of a file. */
export const unlink = promisify(fs.unlink)
/** Sets the length of an open file, in bytes. */
export const ftruncate = promisify(fs.ftruncate)
/** Resolves links, `.` and `..` in a path. `node:fs/promises` has this too, but takes 2 ms to load. */
export const realpath = promisify(fs.realpath.native)
/** Makes an open file durable. */
export const fsync = promisify(fs.fsync)
/** One `pread`. May read less than requested; 0 at the end of the file. Lengths and offsets in bytes. */
export const pread = (
  fd: number,
  into: Uint8Array,
  start: number,
  length: number,
  offset: number,
): Promise<number> =>
  new Promise((resolve, reject) => {
    fs.read(fd, into, start, length, offset, (error, count) => (error ? reject(error) : resolve(count)))
  })
