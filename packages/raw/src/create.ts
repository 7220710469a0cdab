/** Making raw images: a file of the right size, allocated as far as the options ask. */
import {
  alignUp,
  BlockError,
  type CreateContext,
  type OptionType,
  type OptionValues,
  type Preallocation,
  SECTOR,
  size,
} from '@vmblock/block-core'

const MODES: readonly Preallocation[] = ['off', 'metadata', 'falloc', 'full']

/**
 * QEMU reads every preallocation mode it knows and leaves refusing to the host; `metadata` is such a mode:
 * a raw image has none, so the file refuses it.
 */
const preallocation: OptionType<Preallocation> & { readonly default: Preallocation } = {
  type: 'str',
  help: 'Preallocation mode (allowed values: off, falloc, full)',
  default: 'off',
  parse(value) {
    const mode = MODES.find((known) => known === value)
    if (mode === undefined) throw new BlockError('EINVAL', `invalid parameter value: ${String(value)}`)
    return mode
  },
}

/** Options of `create`, in the order in which QEMU prints them. */
export const rawCreateOptions = {
  size: size('Virtual disk size'),
  preallocation,
}

/**
 * Gives an empty file its size: whole sectors, as QEMU makes them.
 *
 * @throws BlockError EINVAL without a size; ENOTSUP for a preallocation mode that the file cannot do
 */
export async function createRaw({
  file,
  options,
}: CreateContext<OptionValues<typeof rawCreateOptions>>): Promise<void> {
  if (options.size === undefined) throw new BlockError('EINVAL', 'Image creation needs a size parameter')
  if (options.preallocation === 'metadata')
    throw new BlockError('ENOTSUP', `Unsupported preallocation mode: ${options.preallocation}`)
  await file.truncate(alignUp(options.size, SECTOR), { preallocation: options.preallocation, exact: true })
}
