/** Reads sizes on the command line of qemu-img. */
import { readSize } from '@vmblock/block-core'
import { Failure, type Output } from './output.ts'

const MAX_INT64 = 0x7fff_ffff_ffff_ffffn

/** QEMU's warning about a hexadecimal number with a multiplier. */
export const scaledHexWarning = (text: string): string =>
  `Using a multiplier suffix on hex numbers is deprecated: ${text}`

/** The largest C `int`, in which QEMU holds some sizes. */
export const MAX_INT = 0x7fff_ffffn

/**
 * Reads an option or operand that is a size; `what` names it in messages.
 *
 * @param max the largest size allowed
 * @throws Failure in QEMU's words (`cvtnum` of qemu-img.c)
 */
export function requireSize(what: string, text: string, output: Output, max = MAX_INT64): bigint {
  const bytes = readSize(text, () => output.warn(scaledHexWarning(text)))
  if (bytes === 'EINVAL')
    throw new Failure(
      [
        `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for`,
        'kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.',
      ],
      {},
    )
  if (bytes === 'ERANGE' || bytes > max)
    throw new Failure(`Invalid ${what} specified. Must be between 0 and ${max}.`)
  return bytes
}
