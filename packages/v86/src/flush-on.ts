/** Barriers at moments that others know of: the page is hidden, the program is about to end. */
import { requireCallback, requireText, wrongValue } from '@vmblock/block-core'
import type { BufferedDisk } from './buffered-disk.ts'
import { requireDisk } from './check-source.ts'

/** Whatever tells of events: a window, a document, a worker. */
export interface EventSource {
  addEventListener(type: string, listener: () => void): void
  removeEventListener(type: string, listener: () => void): void
}

/**
 * Flushes the disk at every such event; a failure is told by the disk's `error` event. Nobody waits for the flush: a page that is
 * being closed may end before it.
 *
 * @returns what ends that; closing the disk does too
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
