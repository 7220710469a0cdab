/** Making a new image on an open node: what `qemu-img create` does, for programs. */
import { skipFilters } from './block-status.ts'
import type { AnyDriver, BlockDriver } from './driver.ts'
import { originOf } from './environment.ts'
import { BlockError } from './errors.ts'
import { BlockNode } from './node.ts'
import { openNode } from './open.ts'
import { type OptionTable, parseOptions, type RawOptions } from './options.ts'
import { resolveBackingFilename } from './paths.ts'

/** `clusterSize` as `qemu-img create -o` spells it: `cluster_size`. */
const snakeKey = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** The name that an overlay gives its backing file, the format of that, and its size, as far as they are not given. */
async function withBacking(file: BlockNode, { backing, ...given }: RawOptions): Promise<RawOptions> {
  if (backing instanceof BlockNode) {
    const { driver, filename, size } = skipFilters(backing)
    const format = driver.kind === 'format' ? driver.name : 'raw'
    return { size, ...(filename !== '' && { backing_file: filename, backing_fmt: format }), ...given }
  }
  const { size, backing_file: name, backing_fmt: driver } = given
  const environment = originOf(file)?.environment
  if (size !== undefined || name === undefined || !environment) return given
  const filename = resolveBackingFilename(file.filename, String(name))
  const node = await openNode(environment, {
    ...(driver !== undefined && { driver }),
    filename,
    'read-only': true,
    'force-share': true,
  })
  await node.close()
  return { size: node.size, ...given }
}

/**
 * Formats an open, empty, growable node.
 *
 * @param options as for `qemu-img create -o`, in its spelling or in camelCase; sizes in bytes or with suffixes. An overlay needs no
 *   `size`: it has that of `backing`, an open node, or of the image that `backingFile` names from where `file` is
 * @param dataFile an open, empty node, where the options ask for an external data file
 * @throws BlockError ENOTSUP when the driver cannot create images; EINVAL that names a wrong option; of opening the backing file
 */
export async function formatImage<O extends OptionTable, C extends OptionTable>(
  driver: BlockDriver<O, C> | AnyDriver,
  file: BlockNode,
  options: RawOptions,
  dataFile?: BlockNode,
): Promise<void> {
  const { create, createOptions = {} } = driver as AnyDriver
  if (!create)
    throw new BlockError('ENOTSUP', `Format driver '${driver.name}' does not support image creation`)
  const spelled = Object.fromEntries(Object.entries(options).map(([key, value]) => [snakeKey(key), value]))
  const whole = 'backing_file' in createOptions ? await withBacking(file, spelled) : spelled
  await create.call(driver, { file, dataFile, options: parseOptions(createOptions, whole) })
}
