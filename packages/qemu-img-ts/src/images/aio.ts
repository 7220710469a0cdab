/** How requests reach the kernel: the values of `-i`, and the node of an image that the value applies to. */
import type { DriverRegistry, RawOptions } from '@vmblock/block-core'
import { filenameToOptions } from '@vmblock/cli'

/** QEMU's names, then two values of the `file` driver that QEMU does not have. */
export const AIO_WAYS = ['threads', 'native', 'io_uring', 'adaptive', 'sync'] as const

/** A value of `-i`: how system calls are made. */
export type Aio = (typeof AIO_WAYS)[number]

/** Finds a value by its name. */
export const findAio = (name: string): Aio | undefined => AIO_WAYS.find((known) => known === name)

/** Roles of the children that hold the bytes of a node. */
const BELOW = ['file', 'image'] as const

const isTree = (value: unknown): value is RawOptions => typeof value === 'object' && value !== null

/**
 * Adds `aio` to the options of an image, if its bytes are in a host file and its own options do not set it.
 * Otherwise it has no meaning, and QEMU ignores it, too.
 */
export function withAio(options: RawOptions, aio: Aio, registry: DriverRegistry): RawOptions {
  const key = keyOfAio(options, registry)
  return key === undefined || key in options ? options : { ...options, [key]: aio }
}

function keyOfAio(options: RawOptions, registry: DriverRegistry): string | undefined {
  const { driver, filename } = options
  if (typeof filename !== 'string') return below(options, '', false)
  if (driver === 'file') return 'aio'
  try {
    const named = filenameToOptions(registry, filename)
    return filename.startsWith('json:') ? below(named, '', false) : below(named, 'file.', true)
  } catch {
    // Opening the image will report what is wrong with the name.
    return undefined
  }
}

/** Finds the option key in a tree of options. `isFile`: a tree without a driver means a file of the host. */
function below(tree: RawOptions, prefix: string, isFile: boolean): string | undefined {
  const { driver, aio } = tree
  if (driver === 'file' || (driver === undefined && isFile))
    return aio === undefined ? `${prefix}aio` : undefined
  for (const role of BELOW) {
    const child = tree[role]
    if (isTree(child)) return below(child, `${prefix}${role}.`, true)
  }
  return undefined
}
