/** Reads sizes on the command line of qemu-img. */
import { Failure, MAX_SIZE, type OptionKind, readBytes, type Spelling, type Warn } from '@vmblock/cli'

/** The largest C `int`, in which QEMU holds some sizes. */
export const MAX_INT = 0x7fff_ffffn

/**
 * Reads an option or operand that is a size; `what` names it in messages.
 *
 * @param max the largest size allowed
 * @param min the smallest one
 * @throws Failure in QEMU's words (`cvtnum` of qemu-img.c)
 */
export function requireSize(what: string, text: string, warn: Warn, max = MAX_SIZE, min = 0n): bigint {
  const bytes = readBytes(text, warn, max)
  if (bytes === 'EINVAL')
    throw new Failure([
      `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for`,
      'kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.',
    ])
  if (bytes === 'ERANGE' || bytes < min)
    throw new Failure(`Invalid ${what} specified. Must be between ${min} and ${max}.`)
  return bytes
}

/** An option that is a size in bytes; `what` names it in messages. */
export const sizeOption = (
  what: string,
  spelling: Spelling & { readonly argument: string },
  max?: bigint,
): OptionKind<bigint> => ({ ...spelling, read: (text, warn) => requireSize(what, text, warn, max) })
