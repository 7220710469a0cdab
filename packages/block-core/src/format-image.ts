/** Making a new image on an open node: what `qemu-img create` does, for programs. */
import { isPlain, wrongValue } from './arguments.ts'
import type { AnyDriver, BlockDriver } from './driver.ts'
import { BlockError } from './errors.ts'
import type { BlockNode } from './node.ts'
import { requireNode } from './node-arguments.ts'
import { type OptionTable, parseOptions, type RawOptions } from './options.ts'
import { requireDriver } from './registry.ts'

/** `clusterSize` as `qemu-img create -o` spells it: `cluster_size`. */
const snakeKey = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/**
 * Formats an open, empty, growable node.
 *
 * @param options as for `qemu-img create -o`, in its spelling or in camelCase; sizes in bytes or with suffixes
 * @param dataFile an open, empty node, where the options ask for an external data file
 * @throws BlockError ENOTSUP when the driver cannot create images; EINVAL that names a wrong option
 */
export async function formatImage<O extends OptionTable, C extends OptionTable>(
  driver: BlockDriver<O, C> | AnyDriver,
  file: BlockNode,
  options: RawOptions,
  dataFile?: BlockNode,
): Promise<void> {
  requireDriver(driver)
  requireNode(file, 'file')
  if (!isPlain(options)) throw wrongValue('options', 'a plain object', options)
  if (dataFile !== undefined) requireNode(dataFile, 'dataFile')
  const { create, createOptions = {} } = driver as AnyDriver
  if (!create)
    throw new BlockError('ENOTSUP', `Format driver '${driver.name}' does not support image creation`)
  const spelled = Object.fromEntries(Object.entries(options).map(([key, value]) => [snakeKey(key), value]))
  await create.call(driver, { file, dataFile, options: parseOptions(createOptions, spelled) })
}
