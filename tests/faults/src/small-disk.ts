/**
 * A file system of a few MiB, for tests that fill it. Mounting one takes root and the right to mount.
 * @module
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A small mounted file system. */
export interface SmallDisk {
  path(name: string): string
  /** Free bytes. */
  readonly free: number
  /** Occupies space, which {@link makeRoom} frees again. */
  takeRoom(bytes: number): void
  makeRoom(): void
  /** Removes the files. */
  empty(): void
  /** Unmounts it. */
  remove(): void
}

/** Mounts a file system of that size. @throws Error where that is not allowed, or not possible */
export function mountSmallDisk(bytes: number): SmallDisk {
  if (process.platform !== 'linux') throw new Error(`no tmpfs on ${process.platform}`)
  if (process.getuid?.() !== 0) throw new Error('only root may mount')
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-full-'))
  try {
    const options = `size=${bytes},mode=700`
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'vmblock', directory], { stdio: 'pipe' })
  } catch (error) {
    rmdirSync(directory)
    throw new Error(`mount: ${String((error as { stderr?: unknown }).stderr ?? error).trim()}`)
  }
  const path = (name: string): string => join(directory, name)
  let isMounted = true
  const remove = (): void => {
    if (!isMounted) return
    isMounted = false
    // Lazily: files that a failed test left open must not prevent it.
    execFileSync('umount', ['-l', directory], { stdio: 'pipe' })
    rmdirSync(directory)
  }
  // A run that is interrupted leaves nothing mounted either.
  process.once('exit', remove)
  return {
    path,
    get free() {
      const { bavail, bsize } = statfsSync(directory)
      return bavail * bsize
    },
    takeRoom: (room) => writeFileSync(path('ballast'), new Uint8Array(room)),
    makeRoom: () => rmSync(path('ballast'), { force: true }),
    empty() {
      execFileSync('find', [directory, '-mindepth', '1', '-delete'])
    },
    remove,
  }
}

/** Why {@link mountSmallDisk} does not work here; undefined if it does. */
export const whyNoSmallDisk: string | undefined = (() => {
  try {
    mountSmallDisk(64 * 1024).remove()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
})()
