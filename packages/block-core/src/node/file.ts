/** The `file` driver: a regular file of the host, through Node's file system. */
import { constants } from 'node:fs'
import { requireUnused } from '../access.ts'
import {
  type CreatedPlace,
  type DriverEvents,
  defineDriver,
  type OpenContext,
  type ReopenRequest,
} from '../driver.ts'
import { BlockError } from '../errors.ts'
import { bool, type OptionValues, oneOf, size, text } from '../options.ts'
import { pathName } from '../paths.ts'
import { filePreallocation } from '../preallocation.ts'
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
import { type FileKind, openFailure, openFile, placeOf, requireKind } from './open-file.ts'
import { requirePreallocation, resizeFile } from './preallocate.ts'
import { tellProcess, tellUnlocked } from './unlocked-warning.ts'

/**
 * Runtime options. How long `aio` may keep the event loop from turning: `threads` never for the disk, it turns for
 * each request; `adaptive` for at most 10 ms of requests that the page cache answers, all files together, plus the
 * request that ends them, and for the disk three requests in a row, then one now and then (adaptive-engine.ts); `sync`
 * without bound. With `cache.direct=on` every request waits for the disk: `adaptive` and `native` give it to the
 * kernel (Linux AIO), the others, and what the kernel does not take, to threads.
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
 * Options of a new file, with QEMU's help. `extent_size_hint` is checked and has no effect: it is a hint to the
 * host's file system by an ioctl, and QEMU goes on where the file system does not know it. `nocow` is another such ioctl, made where
 * there is koffi; what comes of it is no matter to QEMU either.
 */
const placeOptions = {
  nocow: bool('Turn off copy-on-write (valid only on btrfs)'),
  preallocation: filePreallocation,
  extent_size_hint: size('Extent size hint for the image file, 0 to disable'),
}

const MAX_EXTENT_SIZE_HINT = 2 ** 32 - 1

/** @throws BlockError EINVAL */
function checkPlaceOptions({ extent_size_hint: hint = 0 }: OptionValues<typeof placeOptions>): void {
  if (hint > MAX_EXTENT_SIZE_HINT) throw new BlockError('EINVAL', 'Extent size hint is too large')
}

/** What the driver is built on, beside `node:fs`. */
export interface FileDriverParts {
  /**
   * System calls that Node lacks; default: {@link systemCalls}. Without them no holes are punched or found, zeroes
   * are written, and only processes of ours are kept apart (marked-locks.ts).
   */
  readonly hostCalls?: HostCalls
  /**
   * Told, once in a thread, that files are written without the locks that QEMU minds. Default: `process.emitWarning`, unless
   * the environment has `VMBLOCK_LOCK_WARNING=off`.
   */
  readonly onUnlocked?: (line: string, events: DriverEvents) => void
  /** Threads of this process may write to files of this driver, too. Default true; it costs a mark for each raw image. */
  readonly threads?: boolean
  /** Makes the engine of a file opened without O_DIRECT. */
  readonly makeEngine?: (name: EngineName) => IoEngine
  /**
   * Whether standard error is told of files that are open for writing when the process ends (not with
   * `NODE_ENV=production`). Default true; programs that end so on purpose turn it off.
   */
  readonly warnAtExit?: boolean
}

/** {@link FileDriverParts}, with what is usual where nothing was given. */
export interface CompleteParts extends Required<Omit<FileDriverParts, 'threads'>> {
  /** What there is besides the locks of the host. */
  readonly ownLocks: OwnLocks
}

/** The parts of a driver of files or of devices. */
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

/** The file that the options name. @throws BlockError EINVAL when they name none; ENOTSUP for locks that cannot be had */
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

/** Opens what the options of a node name, as a driver of files or of devices. @throws BlockError */
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
 * Opens the place of a new image, which nobody may use meanwhile, and closes it. A file is made if it is not there; a device has to be.
 *
 * @returns what takes it back; nothing for a place that was there before
 * @throws BlockError EBUSY, and what the host says: then a file that was made is gone again
 */
export async function withPlace(
  driver: FileKind,
  options: FileOptions,
  { hostCalls, ownLocks }: CompleteParts,
  use: (place: { readonly fd: number; readonly size: number }) => Promise<void>,
): Promise<CreatedPlace | undefined> {
  const filename = requireFilename(driver, options, hostCalls)
  const { fd, stats, size, isNew } = await openPlace(driver, filename)
  let unlock: (() => void) | undefined
  try {
    if (options.locking !== 'off') {
      requireUnused(placeOf(stats), filename)
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

async function openPlace(driver: FileKind, filename: string) {
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

/** Makes a `file` driver of other parts; `file` is the usual one. */
export const fileDriver = (given: FileDriverParts = {}) => {
  const parts = completeParts(given)
  return defineDriver({
    name: 'file',
    kind: 'protocol',
    prefixes: ['file'],
    takesPaths: true,
    pathOfUrl,
    options: fileOptions,
    placeOptions,

    parseFilename(filename) {
      return { filename: pathName(filename.startsWith('file:') ? filename.slice('file:'.length) : filename) }
    },

    open: (context) => openFileNode('file', context, parts),

    async createPlace(options, size, fallback, more = {}) {
      const place = more as OptionValues<typeof placeOptions>
      const preallocation = place.preallocation ?? fallback
      checkPlaceOptions(place)
      requirePreallocation(preallocation)
      return withPlace('file', options, parts, async ({ fd }) => {
        await ftruncate(fd, 0)
        // A file that has content keeps it where it is. Only a help, as in QEMU: most file systems have no such thing.
        if (place.nocow) await parts.hostCalls.noCopyOnWrite?.(fd).catch(() => undefined)
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

/** @throws BlockError what the host says */
async function removeFile(filename: string): Promise<void> {
  await unlink(filename).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'ENOENT')
      throw fromHostError(error, `Could not remove '${filename}'`)
  })
}

/** Opens a file for writing, and says whether it had to be made. A link counts as there, wherever it leads. */
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

/** A reopen gives all options again; none of this driver's own may change. */
function requireSame(options: FileOptions, { options: wanted }: ReopenRequest): void {
  for (const [key, value] of Object.entries(options)) {
    if (key in wanted && wanted[key] !== value)
      throw new BlockError('EINVAL', `Cannot change the option '${key}'`)
  }
}

/** A regular file of the host. Prefix `file:`. */
export const file = fileDriver()
