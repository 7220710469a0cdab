/**
 * The OPFS driver inside a dedicated worker, where it holds the synchronous handle itself, passes the driver
 * contract.
 */
import { BlockError, type BlockNode, DriverRegistry, denyHost, openNode } from '@vmblock/block-core'
import { opfs } from '@vmblock/block-core/browser'
import { defineDriver, text } from '@vmblock/block-core/driver'
import { driverContract } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import type { NodeCall, NodeReply, NodeRequest } from './src/node-worker.ts'

type Success = Extract<NodeReply, { readonly ok: true }>

const worker = new Worker(new URL('./src/node-worker.ts', import.meta.url), { type: 'module' })
const waiting = new Map<number, (reply: NodeReply) => void>()
let requests = 0
let count = 0

worker.addEventListener('message', ({ data }: MessageEvent<NodeReply>) => {
  waiting.get(data.id)!(data)
  waiting.delete(data.id)
})

async function ask(node: number, call: NodeCall): Promise<Success> {
  const request: NodeRequest = { id: requests++, node, call }
  const said = await new Promise<NodeReply>((resolve) => {
    waiting.set(request.id, resolve)
    worker.postMessage(request)
  })
  if (!said.ok) throw new BlockError(said.code, said.message)
  return said
}

/** A node of the worker, as seen from this page. */
const inWorker = defineDriver({
  name: 'in-worker',
  kind: 'protocol',
  options: { filename: text('Path of the file in the origin private file system') },
  async open({ options: { filename = '' }, readOnly }) {
    const number = count++
    let { size } = await ask(number, { kind: 'open', filename, readOnly })
    return {
      growable: true,
      size: () => size,
      async read(offset, into) {
        const { data } = await ask(number, { kind: 'read', offset, bytes: into.length })
        into.set(data!)
      },
      async write(offset, from) {
        const { size: now } = await ask(number, { kind: 'write', offset, data: from.slice() })
        size = Math.max(size, now)
      },
      async truncate(bytes) {
        size = (await ask(number, { kind: 'truncate', size: bytes })).size
      },
      flush: () => ask(number, { kind: 'flush' }).then(() => undefined),
      close: () => ask(number, { kind: 'close' }).then(() => undefined),
      crash: () => ask(number, { kind: 'crash' }).then(() => undefined),
    }
  },
})

const environment = { registry: new DriverRegistry([inWorker, opfs]), host: denyHost }

const names = new WeakMap<BlockNode, string>()

async function open(filename: string, options: Readonly<Record<string, unknown>> = {}): Promise<BlockNode> {
  const node = await openNode(environment, { driver: 'in-worker', filename, ...options })
  names.set(node, filename)
  return node
}

async function make(size: number): Promise<string> {
  const filename = `handle-${count++}`
  await ask(0, { kind: 'create', filename, size })
  return filename
}

driverContract(
  'opfs in a dedicated worker',
  async ({ size, readOnly, writeCache, detectZeroes }) =>
    open(await make(size), {
      readOnly,
      cache: { writeback: writeCache },
      detectZeroes,
      discard: 'unmap',
    }),
  {
    truncate: 'grow-and-shrink',
    unalignedSizes: true,
    reopen: (node) => open(names.get(node)!),
    seeds: [1],
  },
)

test('a file is one writer’s at a time, in whatever way it is open', async () => {
  const filename = await make(65536)
  const writer = await open(filename)
  const elsewhere = { driver: 'opfs', filename, lockTimeout: 100 } as const
  await expect(openNode(environment, elsewhere)).rejects.toMatchObject({
    code: 'EBUSY',
    message: expect.stringContaining('open elsewhere'),
  })
  await writer.write(1000, new Uint8Array(1000).fill(7))
  await writer.crash()
  const node = await openNode(environment, elsewhere)
  const bytes = new Uint8Array(1002)
  await node.read(999, bytes)
  expect([...bytes.subarray(0, 2), ...bytes.subarray(-2)]).toEqual([0, 7, 7, 0])
  await node.close()
  await expect(open('nowhere')).rejects.toMatchObject({ code: 'ENOENT' })
})
