/** Finds the driver for a file whose format was not named. */
import { alignDown, SECTOR } from '../base/bits.ts'
import { BlockError, blockErrorOf } from '../base/errors.ts'
import { loadOnce } from '../base/load-once.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { DriverRegistry } from '../contract/registry.ts'

/** The length of the beginning by which formats are recognized. QEMU's BLOCK_PROBE_BUF_SIZE. */
const PROBE_BYTES = SECTOR
/** How far from the end of a file a trailer may begin. */
const TAIL_BYTES = 1023

/** @throws BlockError EIO if the code cannot be loaded */
const loadForeignFormats = loadOnce(
  'recognising formats without a driver',
  () => import('./foreign-formats.ts'),
)

/** Offset in a file of that size where the tail for {@link FormatProbe.probeTail} begins, in bytes. */
export const tailStart = (size: number): number => alignDown(Math.max(size - TAIL_BYTES, 0), SECTOR)

/** The driver that opens a file without a named format. */
export interface Guess {
  readonly driver: AnyDriver
  /**
   * The name of the format that a file with this beginning and end would be taken for instead, if any.
   * Absent: the driver recognized its format from the beginning.
   */
  readonly otherFormat?: (head: Uint8Array, tail: Uint8Array) => string | undefined
}

/**
 * Guesses the format of a file. If the beginning indicates nothing better than raw, also reads the end and
 * loads the code that knows formats without a driver.
 *
 * @throws BlockError ENOTSUP that names the format, if it has no driver; ENOENT if no driver takes the file;
 *   errors of reading
 */
export async function guessFormat(registry: DriverRegistry, file: BlockNode): Promise<Guess> {
  const { size, filename } = file
  const head = new Uint8Array(PROBE_BYTES)
  await readPart(file, 0, head.subarray(0, Math.min(size, PROBE_BYTES)), '')
  // An empty medium has no format.
  const guess = size === 0 ? registry.get('raw') : registry.guess(head, filename)
  if (guess && guess.name !== 'raw') return { driver: guess }
  const { formatOf, refusalOf } = await loadForeignFormats()
  const tail = new Uint8Array(size - tailStart(size))
  await readPart(file, tailStart(size), tail, 'the end of the ')
  const name = formatOf(registry, { head, tail, filename }) ?? guess?.name
  if (name === undefined) return { driver: registry.probe(head, filename) }
  const found = registry.find(name)
  if (!found) throw new BlockError('ENOTSUP', refusalOf(name, filename))
  const driver = (await found.whole?.()) ?? found
  return {
    driver,
    otherFormat(first, last) {
      const other = formatOf(registry, { head: first, tail: last, filename })
      return other === driver.name ? undefined : other
    },
  }
}

async function readPart(file: BlockNode, offset: number, into: Uint8Array, part: string): Promise<void> {
  if (into.length === 0) return
  try {
    await file.read(offset, into)
  } catch (error) {
    throw blockErrorOf(error, `Could not read ${part}image for determining its format`, file.name)
  }
}
