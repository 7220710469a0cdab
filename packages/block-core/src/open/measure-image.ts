/** How large an image would be: `qemu-img measure` for programs. */
import { isPlain, wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { MeasureReport } from '../contract/creation.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CreationOptions } from '../contract/node-options.ts'
import { requireDriver } from '../contract/registry.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { creationValues } from './format-image.ts'

/**
 * Says how many bytes the file of a new image would take, empty or as a copy of an open node with its backing files.
 * Nothing is made.
 *
 * @param options as for `formatImage`; of an image with a `source`, the size is that of the source
 * @throws BlockError ENOTSUP if the driver cannot measure; EIO if its code for that cannot be loaded; EINVAL that names
 *   a wrong option; EFBIG if there can be no such image; any error of the source
 */
export async function measureImage<D extends AnyDriver>(
  driver: D,
  options: CreationOptions<D>,
  source?: BlockNode,
): Promise<MeasureReport> {
  requireDriver(driver, 'driver')
  if (!isPlain(options)) throw wrongValue('options', 'a plain object', options)
  if (source !== undefined) requireNode(source, 'source')
  const creation = await driver.creation?.()
  if (!creation?.measure)
    throw new BlockError('ENOTSUP', `Block driver '${driver.name}' does not support size measurement`)
  return creation.measure({
    source,
    options: await creationValues(undefined, '', creation.options, options),
  })
}
