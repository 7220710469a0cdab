/** The `file` driver: a regular file of the host, through Node's file system. */
import { constants } from 'node:fs'
import { BlockError } from '../base/errors.ts'
import { type CreatedFile, defineDriver, type OpenContext } from '../contract/driver.ts'
import type { ReopenRequest } from '../contract/node-ops.ts'
import { filePreallocation } from '../contract/preallocation.ts'
import type { DriverEvents } from '../contract/reports.ts'
import { requireIdentityUnused } from '../graph/identity.ts'
import { bool, type OptionValues, oneOf, size, text } from '../text/options.ts'
import { pathName } from '../text/paths.ts'
import { AIO_NAMES, type EngineName, engineNameOf, makeDirectEngine, makeEngine } from './engines.ts'
import { lockForCreation, type OwnLocks } from './file-lock.ts'
import { FileNode } from './file-node.ts'
import { pathOfUrl } from './file-url.ts'
import type { HostCalls } from './host-calls.ts'
import { fromHostError } from './host-error.ts'
import { close, fstat, ftruncate, open, unlink } from './host-fs.ts'
import type { IoEngine } from './io-engine.ts'
import { systemCalls } from './koffi.ts'
import { markedLocks, markWriter } from './marked-locks.ts'
import { type FileKind, identityOf, openFailure, openFile, requireKind } from './open-file.ts'
import { requirePreallocation, resizeFile } from './preallocate.ts'
import { tellProcess, tellUnlocked } from './unlocked-warning.ts'

/**
 * Runtime options. How long each `aio` may block the event loop: `threads` never waits for the disk, the loop
 * turns for each request; `adaptive` blocks for at most 10 ms of requests that the page cache answers, all
 * files together, plus the request that exceeds them, and waits for the disk three requests in a row, then
 * one now and then (adaptive-engine.ts); `sync` has no bound. With `cache.direct=on` every request waits for
 * the disk: `adaptive` and `native` give requests to the kernel (Linux AIO), and those that the kernel does
 * not take to threads, as the other values do with all.
 */
export const fileOptions = {
  filename: text('File name of the image'),
  aio: oneOf(
    AIO_NAMES,
    'host AIO implementation (adaptive, sync, threads, native; io_uring is done by threads)',
    'adaptive',
  ),
  locking: oneOf(
    ['auto', 'on', 'off'],
    'file locking mode (auto: where the host can; on: or not at all; off)',
    'auto',
  ),
}

type FileOptions = OptionValues<typeof fileOptions>

/**
 * Options of a new file, with QEMU's help. `extent_size_hint` is checked and has no effect: QEMU passes it to
 * the file system in an ioctl, and ignores a file system that does not know it. `nocow` is another such
 * ioctl, made if koffi is installed; QEMU ignores its result, too.
 */
const newFileOptions = {
  nocow: bool('Turn off copy-on-write (valid only on btrfs)'),
  preallocation: filePreallocation,
  extent_size_hint: size('Extent size hint for the image file, 0 to disable'),
}

const MAX_EXTENT_SIZE_HINT = 2 ** 32 - 1

/** @throws BlockError EINVAL */
function checkFileOptions({ extent_size_hint: hint = 0 }: OptionValues<typeof newFileOptions>): void {
  if (hint > MAX_EXTENT_SIZE_HINT) throw new BlockError('EINVAL', 'Extent size hint is too large')
}

/** The parts a file driver is made of, besides `node:fs`. */
export interface FileDriverParts {
  /**
   * System calls that Node lacks; default: {@link systemCalls}. Without them no holes are punched or found,
   * zeroes are written, and locks keep apart only processes of vmblock (marked-locks.ts).
   */
  readonly hostCalls?: HostCalls
  /**
   * Called once per thread, when files are written without locks that QEMU respects. Default:
   * `process.emitWarning`, unless the environment has `VMBLOCK_LOCK_WARNING=off`.
   */
  readonly onUnlocked?: (line: string, events: DriverEvents) => void
  /** Whether other threads may write to these files, too. Default true; costs a mark for each raw image. */
  readonly threads?: boolean
  /** Makes the engine of a file opened without O_DIRECT. */
  readonly makeEngine?: (name: EngineName) => IoEngine
  /**
   * Whether to warn on standard error about files still open for writing when the process ends (never with
   * `NODE_ENV=production`). Default true; programs that exit that way on purpose turn it off.
   */
  readonly warnAtExit?: boolean
}

/** {@link FileDriverParts} with the defaults filled in. */
export interface CompleteParts extends Required<Omit<FileDriverParts, 'threads'>> {
  /** Locks used in place of, or in addition to, those of the host. */
  readonly ownLocks: OwnLocks
}

/** Fills in the default parts of a file or device driver. */
export const completeParts = ({
  hostCalls = systemCalls,
  onUnlocked = tellProcess,
  threads = true,
  makeEngine: engineOf = makeEngine,
  warnAtExit = true,
}: FileDriverParts): CompleteParts => ({
  hostCalls,
  onUnlocked,
  ownLocks: { locks: markedLocks(), ...(threads && { markWriter }) },
  makeEngine: engineOf,
  warnAtExit,
})

/** The filename in the options. @throws BlockError EINVAL if it is missing; ENOTSUP without required locks */
function requireFilename(driver: FileKind, { filename, locking }: FileOptions, calls: HostCalls): string {
  if (!filename) throw new BlockError('EINVAL', `The '${driver}' block driver requires a file name`)
  // Node itself cannot lock files, and `auto` means "if possible".
  if (locking === 'on' && !calls.locks)
    throw new BlockError(
      'ENOTSUP',
      'locking=on was specified, but this system has no file locks, or the package koffi is not installed',
    )
  return filename
}

/** Opens the file or device that the options of a node name. @throws BlockError */
export async function openFileNode(
  driver: FileKind,
  { readOnly, direct, options, events }: OpenContext<FileOptions>,
  { hostCalls, makeEngine: engineOf, warnAtExit, ownLocks, onUnlocked }: CompleteParts,
): Promise<FileNode> {
  const filename = requireFilename(driver, options, hostCalls)
  const { aio } = options
  const openAs = (mode: { readonly readOnly: boolean; readonly direct: boolean }) => {
    if (aio === 'native' && !mode.direct)
      throw new BlockError(
        'EINVAL',
        'aio=native was specified, but it requires cache.direct=on, which was not specified.',
      )
    return openFile(filename, {
      ...mode,
      driver,
      makeEngine: () => engineOf(engineNameOf(aio)),
      makeDirectEngine: (alignment) => makeDirectEngine(aio, alignment, hostCalls),
    })
  }
  return new FileNode({
    file: await openAs({ readOnly, direct }),
    calls: hostCalls,
    filename,
    readOnly,
    warnAtExit,
    locking: options.locking as 'auto' | 'on' | 'off',
    ownLocks: { ...ownLocks, onWrite: () => tellUnlocked((line) => onUnlocked(line, events)) },
    async openAgain(request, again) {
      requireSame(options, request)
      return openAs({ readOnly: request.readOnly, direct: again })
    },
  })
}

/**
 * Opens the file or device for a new image, locked against other users, and closes it afterwards. A file is
 * created if it does not exist; a device must exist.
 *
 * @returns an object that removes the file again; undefined if it existed before
 * @throws BlockError EBUSY, or the host's error: then a file that was created is removed again
 */
export async function withNewFile(
  driver: FileKind,
  options: FileOptions,
  { hostCalls, ownLocks }: CompleteParts,
  use: (file: { readonly fd: number; readonly size: number }) => Promise<void>,
): Promise<CreatedFile | undefined> {
  const filename = requireFilename(driver, options, hostCalls)
  const { fd, stats, size, isNew } = await openForCreation(driver, filename)
  let unlock: (() => void) | undefined
  try {
    if (options.locking !== 'off') {
      requireIdentityUnused(identityOf(stats), filename)
      unlock = lockForCreation(hostCalls.locks, fd, { filename, own: ownLocks })
    }
    await use({ fd, size })
  } catch (error) {
    if (isNew) await unlink(filename).catch(() => undefined)
    throw fromHostError(error, `Could not create '${filename}'`)
  } finally {
    unlock?.()
    await close(fd)
  }
  return isNew ? { remove: () => removeFile(filename) } : undefined
}

async function openForCreation(driver: FileKind, filename: string) {
  if (driver !== 'file') {
    const device = await openFile(filename, {
      driver,
      readOnly: false,
      direct: false,
      makeEngine: () => makeEngine('threads'),
      makeDirectEngine: () => makeEngine('threads'),
    })
    return { ...device, isNew: false }
  }
  const { fd, isNew } = await openOrCreate(filename)
  try {
    const stats = await fstat(fd)
    requireKind(driver, filename, stats)
    return { fd, stats, size: stats.size, isNew }
  } catch (error) {
    await close(fd)
    throw error
  }
}

/** Makes a `file` driver with other parts; {@link file} has the defaults. */
export const fileDriver = (given: FileDriverParts = {}) => {
  const parts = completeParts(given)
  return defineDriver({
    name: 'file',
    kind: 'protocol',
    prefixes: ['file'],
    takesPaths: true,
    pathOfUrl,
    options: fileOptions,
    createFileOptions: newFileOptions,

    parseFilename(filename) {
      return { filename: pathName(filename.startsWith('file:') ? filename.slice('file:'.length) : filename) }
    },

    open: (context) => openFileNode('file', context, parts),

    async createFile(options, size, fallback, more = {}) {
      const given = more as OptionValues<typeof newFileOptions>
      const preallocation = given.preallocation ?? fallback
      checkFileOptions(given)
      requirePreallocation(preallocation)
      return withNewFile('file', options, parts, async ({ fd }) => {
        await ftruncate(fd, 0)
        // Only after the file was emptied: content keeps its copy-on-write state. Failure is ignored, as in
        // QEMU: most file systems lack this.
        if (given.nocow) await parts.hostCalls.noCopyOnWrite?.(fd).catch(() => undefined)
        await resizeFile(
          { fd, alignment: 1, engine: makeEngine('threads') },
          0,
          size,
          preallocation,
          parts.hostCalls,
        )
      })
    },
  })
}

/** @throws BlockError the host's error */
async function removeFile(filename: string): Promise<void> {
  await unlink(filename).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'ENOENT')
      throw fromHostError(error, `Could not remove '${filename}'`)
  })
}

/**
 * Opens a file for writing, and reports whether it was created. Links count as existing, even dangling ones.
 */
async function openOrCreate(filename: string): Promise<{ readonly fd: number; readonly isNew: boolean }> {
  const attempt = (flags: number): Promise<number> => open(filename, constants.O_RDWR | flags, 0o644)
  try {
    return { fd: await attempt(constants.O_CREAT | constants.O_EXCL), isNew: true }
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw openFailure('create', filename, error)
  }
  return attempt(constants.O_CREAT).then(
    (fd) => ({ fd, isNew: false }),
    (error: unknown) => {
      throw openFailure('create', filename, error)
    },
  )
}

/** Checks that a reopen, which passes all options again, changes none of this driver's own. */
function requireSame(options: FileOptions, { options: wanted }: ReopenRequest): void {
  for (const [key, value] of Object.entries(options)) {
    if (key in wanted && wanted[key] !== value)
      throw new BlockError('EINVAL', `Cannot change the option '${key}'`)
  }
}

/** A regular file of the host. Prefix `file:`. */
export const file = fileDriver()
