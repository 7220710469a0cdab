/**
 * Directories for images: in memory, where only programs are compared, and on a disk, where flushes cost
 * something.
 */
import { mkdtempSync, readFileSync, realpathSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { atExit } from './cleanup.ts'

/** The two kinds of directories. */
export type MediumKind = 'memory' | 'disk'

/** A directory for images, removed at the end. */
export interface Medium {
  readonly kind: MediumKind
  readonly directory: string
  /** The type of its file system: `tmpfs`, `ext4`, ... */
  readonly fileSystem: string
}

/** Both directories. */
export type Media = Readonly<Record<MediumKind, Medium>>

/** Bytes that the images of a whole run need at a time. */
export const SPACE_NEEDED = 4 * 2 ** 30

const MEMORY_DIRECTORY = '/dev/shm'
const isInMemory = (fileSystem: string): boolean => fileSystem === 'tmpfs' || fileSystem === 'ramfs'

/**
 * Returns the type of the file system that a directory is on, from the text of Linux's
 * `/proc/self/mountinfo`.
 *
 * @param path absolute, without links
 */
export function fileSystemIn(mountinfo: string, path: string): string | undefined {
  let best = { length: -1, kind: undefined as string | undefined }
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ')
    const point = before?.split(' ')[4]?.replace(/\\040/g, ' ')
    if (after === undefined || point === undefined) continue
    const isAbove = point === '/' || path === point || path.startsWith(`${point}/`)
    // Of two mounts at one point the later hides the earlier.
    if (isAbove && point.length >= best.length) best = { length: point.length, kind: after.split(' ')[0] }
  }
  return best.kind
}

function fileSystemOf(directory: string): string {
  try {
    return fileSystemIn(readFileSync('/proc/self/mountinfo', 'utf8'), realpathSync(directory)) ?? 'unknown'
  } catch {
    return 'unknown'
  }
}

function freeBytes(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory)
    return bavail * bsize
  } catch {
    return 0
  }
}

function openMedium(kind: MediumKind, parent: string): Medium {
  const directory = mkdtempSync(join(parent, 'vmblock-bench-'))
  atExit(() => rmSync(directory, { recursive: true, force: true }))
  return { kind, directory, fileSystem: fileSystemOf(directory) }
}

/**
 * Opens both directories.
 *
 * @param disk the parent directory to use instead of the one for temporary files
 * @param memory the parent directory to use instead of `/dev/shm`; by default `disk` if that is missing or
 * too small
 * @param warn receives warnings
 */
export function openMedia(
  disk: string | undefined,
  memory: string | undefined,
  warn: (line: string) => void,
): Media {
  const onDisk = openMedium('disk', disk ?? tmpdir())
  if (isInMemory(onDisk.fileSystem))
    warn(`${onDisk.directory} is in memory: a flush costs nothing there; --dir names another directory`)
  let parent = memory ?? MEMORY_DIRECTORY
  if (freeBytes(parent) < SPACE_NEEDED && memory === undefined) {
    warn(`${parent} has no room for the images: all of them are on ${onDisk.fileSystem}`)
    parent = disk ?? tmpdir()
  }
  return { disk: onDisk, memory: openMedium('memory', parent) }
}
