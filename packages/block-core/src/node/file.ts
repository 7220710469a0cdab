/** The `file` driver: a regular file of the host, through Node's file system. */
import { constants } from 'node:fs'
import { requireUnused } from '../access.ts'
import { defineDriver, type ReopenRequest } from '../driver.ts'
import { fromHostError } from '../errno.ts'
import { BlockError } from '../errors.ts'
import { protocolOf } from '../filename.ts'
import { bool, type OptionValues, oneOf, size, text } from '../options.ts'
import { filePreallocation } from '../preallocation.ts'
import { AIO_NAMES, type EngineName, engineNameOf, makeDirectEngine, makeEngine } from './engines.ts'
import { lockForCreation } from './file-lock.ts'
import { FileNode } from './file-node.ts'
import type { HostCalls } from './host-calls.ts'
import { close, fstat, ftruncate, open, unlink } from './host-fs.ts'
import type { IoEngine } from './io-engine.ts'
import { systemCalls } from './koffi.ts'
import { openFailure, openFile, placeOf } from './open-file.ts'
import { requirePreallocation, resizeFile } from './preallocate.ts'

/**
 * Runtime options. How long `aio` may keep the event loop from turning: `threads` never for the disk, it turns for
 * each request; `adaptive` for at most 10 ms of requests that the page cache answers, all files together, plus the
 * request that ends them, and for the disk three requests in a row, then one now and then (adaptive-engine.ts); `sync`
 * without bound. With `cache.direct=on` every request waits for the disk: `adaptive` and `native` give it to the
 * kernel (Linux AIO), the others, and what the kernel does not take, to threads.
 */
const options = {
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

type FileOptions = OptionValues<typeof options>

/**
 * Options of a new file, with QEMU's help. `extent_size_hint` is checked and has no effect: it is a hint to the
 * host's file system by an ioctl, which Node cannot call, and QEMU goes on where the file system does not know it.
 * `nocow` is another such ioctl; as the file would silently be something else than asked for, `on` is refused.
 */
const placeOptions = {
  nocow: bool('Turn off copy-on-write (valid only on btrfs)'),
  preallocation: filePreallocation,
  extent_size_hint: size('Extent size hint for the image file, 0 to disable'),
}

const MAX_EXTENT_SIZE_HINT = 2 ** 32 - 1

/** @throws BlockError EINVAL, ENOTSUP */
function checkPlaceOptions({ nocow, extent_size_hint: hint = 0 }: OptionValues<typeof placeOptions>): void {
  if (hint > MAX_EXTENT_SIZE_HINT) throw new BlockError('EINVAL', 'Extent size hint is too large')
  if (nocow)
    throw new BlockError(
      'ENOTSUP',
      'nocow=on is not supported: Node.js cannot turn off copy-on-write of a file',
    )
}

/** What the driver is built on, beside `node:fs`. */
export interface FileDriverParts {
  /**
   * System calls that Node lacks; default: {@link systemCalls}. Without them no holes are punched or found, zeroes
   * are written, and there are no locks.
   */
  readonly hostCalls?: HostCalls
  /** Makes the engine of a file opened without O_DIRECT. */
  readonly makeEngine?: (name: EngineName) => IoEngine
}

/** The file that the options name. @throws BlockError EINVAL when they name none; ENOTSUP for locks that cannot be had */
function requireFilename({ filename, locking }: FileOptions, calls: HostCalls): string {
  if (!filename) throw new BlockError('EINVAL', `The 'file' block driver requires a file name`)
  // Node itself cannot lock files, and `auto` means "if possible".
  if (locking === 'on' && !calls.locks)
    throw new BlockError(
      'ENOTSUP',
      'locking=on was specified, but this system has no file locks, or the package koffi is not installed',
    )
  return filename
}

/** Makes a `file` driver of other parts; `file` is the usual one. */
export const fileDriver = ({
  hostCalls = systemCalls,
  makeEngine: engineOf = makeEngine,
}: FileDriverParts = {}) =>
  defineDriver({
    name: 'file',
    kind: 'protocol',
    prefixes: ['file'],
    options,
    placeOptions,

    parseFilename(filename) {
      const path = filename.startsWith('file:') ? filename.slice('file:'.length) : filename
      // Without its prefix a name with a colon would look like one of another protocol.
      return { filename: protocolOf(path) === undefined ? path : `./${path}` }
    },

    async open(context) {
      const { readOnly, options } = context
      const filename = requireFilename(options, hostCalls)
      const { aio } = options
      const openAs = (mode: { readonly readOnly: boolean; readonly direct: boolean }) => {
        if (aio === 'native' && !mode.direct)
          throw new BlockError(
            'EINVAL',
            'aio=native was specified, but it requires cache.direct=on, which was not specified.',
          )
        return openFile(filename, {
          ...mode,
          makeEngine: () => engineOf(engineNameOf(aio)),
          makeDirectEngine: (alignment) => makeDirectEngine(aio, alignment, hostCalls),
        })
      }
      return new FileNode({
        file: await openAs({ readOnly, direct: context.direct }),
        calls: hostCalls,
        filename,
        locking: options.locking as 'auto' | 'on' | 'off',
        async openAgain(request, direct) {
          requireSame(options, request)
          return openAs({ readOnly: request.readOnly, direct })
        },
      })
    },

    async createPlace(options, size, fallback, more = {}) {
      const filename = requireFilename(options, hostCalls)
      const place = more as OptionValues<typeof placeOptions>
      const preallocation = place.preallocation ?? fallback
      checkPlaceOptions(place)
      requirePreallocation(preallocation)
      const { fd, isNew } = await openOrCreate(filename)
      try {
        const stats = await fstat(fd)
        if (!stats.isFile())
          throw new BlockError('EINVAL', `'file' driver requires '${filename}' to be a regular file`)
        if (options.locking !== 'off') {
          requireUnused(placeOf(stats), filename)
          if (hostCalls.locks) lockForCreation(hostCalls.locks, fd, filename)
        }
        await ftruncate(fd, 0)
        await resizeFile(
          { fd, alignment: 1, engine: makeEngine('threads') },
          0,
          size,
          preallocation,
          hostCalls,
        )
      } catch (error) {
        if (isNew) await unlink(filename).catch(() => undefined)
        throw fromHostError(error, `Could not create '${filename}'`)
      } finally {
        await close(fd)
      }
      return isNew ? { remove: () => removeFile(filename) } : undefined
    },
  })

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
