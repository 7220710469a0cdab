/** The `preallocation` option of new files, for protocols and for formats that are plain files. */

import { BlockError } from '../base/errors.ts'
import type { OptionType } from '../text/options.ts'
import type { Preallocation } from './requests.ts'

const MODES: readonly Preallocation[] = ['off', 'metadata', 'falloc', 'full']

/**
 * `preallocation` of a file. Like QEMU, it accepts every mode here and leaves refusal to the file's driver,
 * such as that of `metadata`: a plain file has none.
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
