/**
 * A dedicated worker with open nodes in it, which use the synchronous handles of OPFS files without a worker
 * in between.
 */
import { type BlockErrorCode, type BlockNode, isBlockError, messageOf, openNode } from '@vmblock/block-core'
import { opfs } from '@vmblock/block-core/browser'
import { environment } from './store.ts'

/** An operation on a node, or its creation. Offsets and lengths in bytes. */
export type NodeCall =
  | { readonly kind: 'create'; readonly filename: string; readonly size: number }
  | { readonly kind: 'open'; readonly filename: string; readonly readOnly: boolean }
  | { readonly kind: 'read'; readonly offset: number; readonly bytes: number }
  | { readonly kind: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'flush' | 'close' | 'crash' }

/** A call, its number, and the number of its node. */
export interface NodeRequest {
  readonly id: number
  readonly node: number
  readonly call: NodeCall
}

/** The answer to the request of that number. */
export type NodeReply = { readonly id: number } & (
  | { readonly ok: true; readonly data?: Uint8Array | undefined; readonly size: number }
  | { readonly ok: false; readonly code: BlockErrorCode; readonly message: string }
)

// Without `Worker` the driver cannot have another worker hold the file.
Object.assign(globalThis, { Worker: undefined })

const nodes = new Map<number, BlockNode>()

async function answer(number: number, call: NodeCall): Promise<Uint8Array | undefined> {
  if (call.kind === 'create') {
    await opfs.createFile!({ ...call, lockTimeout: 2000, worker: undefined }, call.size, 'off')
    return undefined
  }
  if (call.kind === 'open') {
    const { filename, readOnly } = call
    nodes.set(number, await openNode(environment, { driver: 'opfs', filename, readOnly }))
    return undefined
  }
  const node = nodes.get(number)!
  switch (call.kind) {
    case 'read': {
      const data = new Uint8Array(call.bytes).fill(0xee)
      await node.read(call.offset, data)
      return data
    }
    case 'write':
      await node.write(call.offset, call.data)
      break
    case 'truncate':
      await node.truncate(call.size)
      break
    case 'flush':
      await node.flush()
      break
    case 'close':
      await node.close()
      break
    default:
      await node.crash()
  }
  return undefined
}

async function reply({ id, node, call }: NodeRequest): Promise<NodeReply> {
  try {
    const data = await answer(node, call)
    const open = nodes.get(node)
    return { id, ok: true, data, size: open?.isOpen ? open.size : 0 }
  } catch (error) {
    return { id, ok: false, code: isBlockError(error) ? error.code : 'EIO', message: messageOf(error) }
  }
}

addEventListener('message', ({ data }: MessageEvent<NodeRequest>) => {
  void reply(data).then((said) => postMessage(said))
})
