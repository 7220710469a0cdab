/**
 * The guard of raw images that nobody called raw. A guest that owns such a disk could write the header of
 * another format, one that names a file of the host, into its first sector; at the next start the image would
 * be probed as that. So the first sector of a probed image never takes what probes as another format.
 */
import { BlockError, SECTOR } from '@vmblock/block-core'

/** Says whether the first bytes of an image would be taken for a format other than raw. */
export type FormatCheck = (head: Uint8Array) => boolean

/** What QEMU prints when probing ends at raw, line by line. */
export const probedWarning = (filename: string): readonly string[] => [
  `WARNING: Image format was not specified for '${filename}' and probing guessed raw.`,
  '         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.',
  "         Specify the 'raw' format explicitly to remove the restrictions.",
]

/**
 * Passes a write to a probed image, or refuses it. Requests must be aligned to sectors.
 *
 * @returns what to write: a copy where the first sector is concerned, since a guest may change its memory
 *   between the check and the write
 * @throws BlockError EPERM when the first sector would look like another format
 */
export function guardFirstSector(
  isOtherFormat: FormatCheck,
  node: string,
  offset: number,
  from: Uint8Array,
): Uint8Array {
  if (offset >= SECTOR) return from
  const checked = from.slice()
  if (!isOtherFormat(checked.subarray(0, SECTOR))) return checked
  throw new BlockError('EPERM', `the first sector of probed image '${node}' would look like another format`, {
    node,
    offset,
  })
}
