/** `-s`: a qcow2 overlay in memory, which takes the writes and is lost with the session. */
import { type BlockNode, type Disk, formatImage, type OpenEnvironment, openNode } from '@vmblock/block-core'
import type { CacheFlags } from './services.ts'

/** How the overlay is opened. */
export interface OverlayModes {
  readonly readOnly: boolean
  readonly cache: CacheFlags
  readonly unmap: boolean
}

/**
 * Makes an overlay over `base` and opens it.
 *
 * QEMU puts it into a file in TMPDIR that is unlinked at once. Here it takes as much memory as is written.
 *
 * @returns the overlay and the node that stores it, from the top down
 */
export async function openOverlay(
  environment: OpenEnvironment,
  base: BlockNode,
  { readOnly, cache, unmap }: OverlayModes,
): Promise<readonly Disk[]> {
  const driver = environment.registry.get('qcow2')
  const file = await openNode(environment, { driver: 'memory' })
  try {
    await formatImage(driver, file, { size: base.size })
    const overlay = await openNode(environment, {
      driver: 'qcow2',
      file,
      backing: base,
      'read-only': readOnly,
      discard: unmap ? 'unmap' : 'ignore',
      // The overlay is lost anyway, so it needs no flush.
      cache: { direct: false, 'no-flush': true, writeback: cache.writeCache },
    })
    return [overlay, file]
  } catch (error) {
    await file.close()
    throw error
  }
}
