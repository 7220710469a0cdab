/**
 * The resources of a resource fork, as older images have it. As in QEMU the map behind them, which has their types and
 * names, is not needed: what is a table says so itself.
 */
import { BlockError, be, layout, viewOf } from '@vmblock/block-core/driver'

const HEADER = layout('resource fork', 16, {
  dataOffset: be.u32(0),
  mapOffset: be.u32(4),
  dataLength: be.u32(8),
  mapLength: be.u32(12),
})

/** Bytes of the length before each resource. */
const LENGTH = 4

/**
 * The resources, in order.
 *
 * @param fork all of it
 * @throws BlockError EINVAL if they are not inside of it
 */
export function* resourcesIn(fork: Uint8Array): Generator<Uint8Array> {
  const refuse = (why: string): never => {
    throw new BlockError('EINVAL', `The resource fork of the dmg image is broken: ${why}`)
  }
  if (fork.length < HEADER.size) refuse(`it has ${fork.length} bytes`)
  const { dataOffset, dataLength } = HEADER.read(fork)
  const end = dataOffset + dataLength
  if (dataLength === 0 || end > fork.length)
    refuse(`its data is at ${dataOffset} to ${end} of ${fork.length}`)
  const view = viewOf(fork)
  for (let at = dataOffset; at < end; ) {
    if (end - at < LENGTH) refuse('a resource has no length')
    const length = view.getUint32(at)
    at += LENGTH
    if (length === 0 || length > end - at) refuse(`a resource at ${at} has ${length} bytes`)
    yield fork.subarray(at, at + length)
    at += length
  }
}
