/** Formats that are only read: their images open read-only, or not at all. */
import { BlockError } from '../base/errors.ts'
import type { OpenContext } from '../contract/driver.ts'
import type { PreparedReopen, ReopenRequest } from '../contract/node-ops.ts'

const refusal = (): BlockError => new BlockError('EACCES', 'Image is read-only')

/**
 * The first step of opening an image whose format cannot be written: QEMU's `bdrv_apply_auto_read_only`.
 *
 * @throws BlockError EACCES if it is opened for writing, without `auto-read-only`
 */
export function requireReadOnly({
  readOnly,
  autoReadOnly,
}: Pick<OpenContext<unknown>, 'readOnly' | 'autoReadOnly'>): void {
  if (!readOnly && !autoReadOnly) throw refusal()
}

/**
 * The `prepareReopen` of such a format: options of the core may change.
 *
 * @throws BlockError EACCES for a reopen for writing
 */
export async function readOnlyReopen({ readOnly }: ReopenRequest): Promise<PreparedReopen> {
  if (!readOnly) throw refusal()
  return { commit() {}, abort() {} }
}
