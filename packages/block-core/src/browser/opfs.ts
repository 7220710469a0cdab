/** The `opfs` protocol: a file in the origin private file system, which outlives the page. */

import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { TruncateOptions } from '../contract/requests.ts'
import { integer, objectOf, text } from '../text/options.ts'
import {
  canOpenHandles,
  missingParts,
  type OpfsFile,
  type OpfsRequest,
  openHandle,
  partsOf,
  removeParts,
} from './opfs-handle.ts'
import { openRemote, type WorkerSource } from './opfs-remote.ts'

const isWorkerSource = (value: unknown): value is WorkerSource =>
  typeof value === 'function' || typeof value === 'string' || value instanceof URL

const options = {
  filename: text('Path of the file in the origin private file system'),
  lockTimeout: integer('Milliseconds to wait for another tab to let go of the file', 2000),
  worker: objectOf(
    isWorkerSource,
    'a function or a URL',
    'makes the worker, or where its script is, where the usual one cannot be had',
  ),
}

interface OpfsOptions {
  readonly filename: string | undefined
  readonly lockTimeout: number
  readonly worker: WorkerSource | undefined
}

/** Opens the handle directly in a dedicated worker; for a page, in another worker. */
function openFile(
  { filename = '', lockTimeout, worker }: OpfsOptions,
  mode: Pick<OpfsRequest, 'readOnly' | 'create'>,
): Promise<OpfsFile> {
  const request = { path: filename, lockTimeout, ...mode }
  partsOf(filename)
  if (canOpenHandles() && !worker) return openHandle(request)
  if (typeof Worker === 'undefined')
    throw new BlockError('ENOTSUP', 'the opfs driver needs a page or a dedicated worker of a browser')
  return openRemote(request, worker)
}

function requireNoPreallocation(preallocation: string | undefined): void {
  if (preallocation !== undefined && preallocation !== 'off')
    throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
}

/** The operations of a node on an open file. */
function operationsOf(file: OpfsFile, identity: string): NodeOps {
  let size = file.initialSize
  return {
    identity,
    growable: true,
    size: () => size,
    read: (offset, into) => file.read(offset, into),
    async write(offset, from) {
      await file.write(offset, from)
      size = Math.max(size, offset + from.length)
    },
    async truncate(bytes, { preallocation }: TruncateOptions) {
      requireNoPreallocation(preallocation)
      await file.truncate(bytes)
      size = bytes
    },
    flush: () => file.flush(),
    close: () => file.close(),
    // Data already passed to the browser stays written: the page's death would not undo it either.
    crash: () => file.abandon(),
    setPatience: (patience) => file.setPatience?.(patience),
  }
}

/**
 * A file of the page's origin. Opening it for writing is exclusive across tabs and workers; a second opener
 * waits for `lock-timeout`, then gets EBUSY. `flush` is the browser's `flush()` on the handle: Chromium and
 * Firefox write the file's data to the disk with it, as `fdatasync` does. A write beyond the quota is ENOSPC,
 * and can be repeated when there is room. The quota counts a file's length, holes included: use a format that
 * allocates on demand.
 */
export const opfs = defineDriver({
  name: 'opfs',
  kind: 'protocol',
  prefixes: ['opfs'],
  options,

  parseFilename: (filename) => ({ filename: filename.replace(/^opfs:(\/\/)?/, '') }),

  nameFromOptions: ({ filename, ...rest }) =>
    typeof filename === 'string' && Object.keys(rest).length === 0 ? `opfs:${filename}` : undefined,

  async open(context) {
    const { filename = '' } = context.options
    const file = await openFile(context.options, { readOnly: context.readOnly, create: false })
    const { directories, name } = partsOf(filename)
    return operationsOf(file, `opfs:${[...directories, name].join('/')}`)
  },

  async createFile(given, size, preallocation) {
    requireNoPreallocation(preallocation)
    const { filename = '', lockTimeout } = given
    const missing = await missingParts(filename)
    const remove = (): Promise<void> => removeParts(filename, missing, lockTimeout)
    try {
      const file = await openFile(given, { readOnly: false, create: true })
      try {
        await file.truncate(0)
        await file.truncate(size)
      } finally {
        await file.close()
      }
    } catch (error) {
      await remove().catch(() => undefined)
      throw error
    }
    return missing > 0 ? { remove } : undefined
  },
})
