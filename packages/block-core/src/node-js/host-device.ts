/**
 * The drivers `host_device` and `host_cdrom`: block devices of the host, and character devices, if they can
 * be read and written. A device is recognized by its path, and keeps its size. Requests work as for files,
 * except for those that devices lack.
 */

import { BlockError, messageOf } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { TruncateOptions } from '../contract/requests.ts'
import { text } from '../text/options.ts'
import { isDevicePath } from './device.ts'
import { completeParts, type FileDriverParts, fileOptions, openFileNode, withNewFile } from './file.ts'
import type { FileNode } from './file-node.ts'
import type { HostCalls } from './host-calls.ts'

/** Alignment of discards, in bytes: a multiple of every device's block size. */
const DISCARD_ALIGNMENT = 4096

/** Options of a new image on a device, with QEMU's help text. */
const newDeviceOptions = {
  preallocation: text('Preallocation mode (allowed values: off)'),
}

const PREFIXES = ['host_device', 'host_cdrom'] as const

/** Makes a device driver with other parts; {@link hostDevice} and {@link hostCdrom} have the defaults. */
export const hostDeviceDriver = <N extends (typeof PREFIXES)[number]>(
  name: N,
  given: FileDriverParts = {},
) => {
  const parts = completeParts(given)
  return defineDriver({
    name,
    kind: 'protocol',
    prefixes: [name],
    takesPaths: true,
    options: fileOptions,
    createFileOptions: newDeviceOptions,
    // Only one of the two recognizes paths: both treat a device alike.
    ...(name === 'host_device' && { recognises: (path: string) => isDevicePath(path) }),

    parseFilename(filename) {
      const prefix = `${name}:`
      return { filename: filename.startsWith(prefix) ? filename.slice(prefix.length) : filename }
    },

    async open(context) {
      return deviceNode(await openFileNode(name, context, parts), parts.hostCalls)
    },

    async createFile(options, size, fallback, more = {}) {
      const preallocation = more['preallocation'] ?? fallback
      if (preallocation !== 'off')
        throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
      const what = `Protocol driver '${name}' does not support image creation, and opening the image failed`
      let tooSmall = false
      await withNewFile(name, options, parts, async (file) => {
        tooSmall = size > file.size
      }).catch((error: unknown) => {
        const code = error instanceof BlockError ? error.code : 'EIO'
        throw new BlockError(code, `${what}: ${messageOf(error)}`, { cause: error })
      })
      if (tooSmall) throw cannotGrow()
      return undefined
    },
  })
}

const cannotGrow = (): BlockError => new BlockError('EINVAL', 'Cannot grow device files')

/** A device as a node: holes are not looked for, and it cannot grow. */
function deviceNode(file: FileNode, { discardDevice }: HostCalls): NodeOps {
  const punch = (offset: number, bytes: number) => file.discard?.(offset, bytes)
  return {
    identity: file.identity,
    sharesIdentity: file.sharesIdentity,
    get limits() {
      return { ...file.limits, discardAlignment: DISCARD_ALIGNMENT }
    },
    zeroFlags: file.zeroFlags,
    size: () => file.size(),
    read: (offset, into) => file.read(offset, into),
    write: (offset, from) => file.write(offset, from),
    writeZeroes: (offset, bytes, flags) => file.writeZeroes(offset, bytes, flags),
    async discard(offset, bytes) {
      if (!discardDevice) return punch(offset, bytes)
      await file.call(bytes, (fd, where) => discardDevice(fd, offset, bytes, where))
    },
    async truncate(size: number, { exact, preallocation = 'off' }: TruncateOptions) {
      if (preallocation !== 'off')
        throw new BlockError(
          'ENOTSUP',
          `Preallocation mode '${preallocation}' unsupported for this non-regular file`,
        )
      if (exact && size !== file.size()) throw new BlockError('ENOTSUP', 'Cannot resize device files')
      if (size > file.size()) throw cannotGrow()
    },
    flush: () => file.flush(),
    info: () => file.info(),
    preparePermissions: (wanted) => file.preparePermissions(wanted),
    prepareReopen: (request) => file.prepareReopen(request),
    close: () => file.close(),
    crash: () => file.crash(),
  }
}

/** A block or character device of the host. Recognized by its path; prefix `host_device:`. */
export const hostDevice = hostDeviceDriver('host_device')
/** A drive whose medium may be missing when it is opened. Prefix `host_cdrom:`. */
export const hostCdrom = hostDeviceDriver('host_cdrom')
