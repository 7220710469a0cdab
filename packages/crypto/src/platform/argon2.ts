/** Argon2 in audited JavaScript, for platforms that have none of their own. It is loaded with the first key that needs it. */
import { BlockError, loadOnce } from '@vmblock/block-core/driver'
import type { Primitives } from './primitives.ts'

const load = loadOnce('keys by Argon2', () => import('@noble/hashes/argon2.js'))

/** Most bytes that the library can address. */
const MOST_BYTES = 2 ** 32 - 1
const KIB = 1024

/** As {@link Primitives.argon2}. A gigabyte that is filled four times takes about a minute. */
export const argon2: Primitives['argon2'] = async (variant, passphrase, salt, cost, bytes) => {
  const { passes, memory, lanes } = cost
  if (memory * KIB > MOST_BYTES)
    throw new BlockError('ENOTSUP', `Argon2 with ${memory} KiB of memory is not supported on this platform`)
  const { argon2iAsync, argon2idAsync } = await load()
  const derive = variant === 'argon2i' ? argon2iAsync : argon2idAsync
  try {
    return await derive(passphrase, salt, {
      t: passes,
      m: memory,
      p: lanes,
      dkLen: bytes,
      maxmem: MOST_BYTES,
    })
  } catch (cause) {
    // What was asked for is checked before: only the allocation can fail.
    if (!(cause instanceof RangeError)) throw cause
    throw new BlockError('ENOMEM', `Argon2 needs ${memory} KiB of memory, which cannot be had`, { cause })
  }
}
