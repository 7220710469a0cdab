/** How requests reach the kernel: the value of `-i`, and which node of an image takes it. */
import { type DriverRegistry, filenameToOptions, type RawOptions } from '@vmblock/block-core'

/** QEMU's names, then two ways of the `file` driver that QEMU does not have. */
const WAYS = ['threads', 'native', 'io_uring', 'adaptive', 'sync'] as const

/** A way of making system calls. */
export type Aio = (typeof WAYS)[number]

/** The way of that name, or undefined. */
export const findAio = (name: string): Aio | undefined => WAYS.find((known) => known === name)

/** Children through which the bytes of a node are reached. */
const BELOW = ['file', 'image'] as const

const isTree = (value: unknown): value is RawOptions => typeof value === 'object' && value !== null

/**
 * Adds a way of making system calls to the options of an image, where its bytes lie in a host file and its own options say
 * nothing of it. Elsewhere it has no meaning, and QEMU passes over it, too.
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
    // Opening it says what is wrong with the name.
    return undefined
  }
}

/** `isPlace`: a tree that names no driver stands for a file of the host. */
function below(tree: RawOptions, prefix: string, isPlace: boolean): string | undefined {
  const { driver, aio } = tree
  if (driver === 'file' || (driver === undefined && isPlace))
    return aio === undefined ? `${prefix}aio` : undefined
  for (const role of BELOW) {
    const child = tree[role]
    if (isTree(child)) return below(child, `${prefix}${role}.`, true)
  }
  return undefined
}
