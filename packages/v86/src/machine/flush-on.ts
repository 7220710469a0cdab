/** Flushes at events outside the disk: the page is hidden, the program is about to end. */
import { requireCallback, requireText, wrongValue } from '@vmblock/block-core/driver'
import type { BufferedDisk } from '../disk/buffered-disk.ts'
import { requireDisk } from '../disk/check-disk.ts'

/** A source of events: a window, a document, a worker. */
export interface EventSource {
  addEventListener(type: string, listener: () => void): void
  removeEventListener(type: string, listener: () => void): void
}

/**
 * Flushes the disk at each of these events; failures go to the disk's `error` event. The flush is not
 * awaited: a page that is being closed may end before it.
 *
 * @returns a function that removes the listeners; closing the disk removes them, too
 * @throws BlockError EINVAL
 */
export function flushOn(disk: BufferedDisk, source: EventSource, ...types: string[]): () => void {
  requireDisk(disk, 'disk')
  requireCallback((source as EventSource | undefined)?.addEventListener, 'source.addEventListener')
  if (types.length === 0) throw wrongValue('types', 'names of events', undefined)
  for (const type of types) requireText(type, 'types')
  const flush = (): void => {
    if (disk.isDirty) void disk.flush().catch(() => undefined)
  }
  const end = (): void => {
    for (const type of types) source.removeEventListener(type, flush)
  }
  for (const type of types) source.addEventListener(type, flush)
  disk.once('close', end)
  return end
}
