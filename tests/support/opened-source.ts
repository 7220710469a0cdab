/** Disks of sources, opened for as long as a test looks at them. */
import type { BlockNode } from '@vmblock/block-core'
import { openSource, type PreparedSource } from '@vmblock/sources'

/** Opens a prepared source for `run`, and closes what was opened for it. */
export async function withSource<T>(
  prepared: Promise<PreparedSource>,
  run: (node: BlockNode) => Promise<T>,
): Promise<T> {
  const { kit, source } = await prepared
  const { node, isOwn } = await openSource(kit, source)
  try {
    return await run(node)
  } finally {
    if (isOwn) await node.close()
  }
}

/** The first byte of a disk. */
export async function firstByte(node: BlockNode): Promise<number> {
  const into = new Uint8Array(512)
  await node.read(0, into)
  return into[0]!
}
