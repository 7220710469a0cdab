/** The option by which a new file is allocated, for the protocols that make files and the formats that are nothing more. */
import type { Preallocation } from './driver.ts'
import { BlockError } from './errors.ts'
import type { OptionType } from './options.ts'

const MODES: readonly Preallocation[] = ['off', 'metadata', 'falloc', 'full']

/**
 * `preallocation` of a file. QEMU reads every mode it knows and leaves refusing to the host; `metadata` is such a
 * mode: a file has none.
 */
export const filePreallocation: OptionType<Preallocation> = {
  type: 'str',
  help: 'Preallocation mode (allowed values: off, falloc, full)',
  parse(value) {
    const mode = MODES.find((known) => known === value)
    if (mode === undefined) throw new BlockError('EINVAL', `invalid parameter value: ${String(value)}`)
    return mode
  },
}
