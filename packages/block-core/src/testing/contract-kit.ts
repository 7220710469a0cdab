/** Helpers for the test cases of the driver contract: making nodes, and examining them. */
import { expect, vi } from 'vitest'
import type { BlockErrorCode } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import { opsOf } from '../graph/node-internals.ts'
import type { DiscardResult } from './model.ts'
import { createRandom } from './random.ts'

/** The node that a test case needs: fresh, open, all zeroes. */
export interface NodeWish {
  /** Bytes; a multiple of 64 KiB unless the driver takes {@link DriverCapabilities.unalignedSizes}. */
  readonly size: number
  readonly readOnly: boolean
  /** Off: a write-through node. */
  readonly writeCache: boolean
  readonly detectZeroes: 'off' | 'on' | 'unmap'
}

/** Behavior that differs between drivers. */
export interface DriverCapabilities {
  /** The content of a discarded range; `undefined` promises nothing. Default `undefined`. */
  readonly discard?: DiscardResult
  /** The changes of size that `truncate` supports. Default `none`. */
  readonly truncate?: 'grow-and-shrink' | 'grow' | 'none'
  /** Whether sizes may be any number of bytes. Default no. */
  readonly unalignedSizes?: boolean
  /** Whether `blockStatus` distinguishes a fresh disk's zeroes from data. Default no. */
  readonly knowsZeroes?: boolean
  /**
   * Opens, writable, the disk of a node that was closed or that crashed, and otherwise left alone. Default:
   * the disk does not outlive its node.
   */
  reopen?(node: BlockNode): Promise<BlockNode>
  /** Granularity of the random runs, in bytes: a cluster. Default 4096. */
  readonly granularity?: number
  /** Seeds of the random runs. Default 3 of them. */
  readonly seeds?: readonly number[]
}

/** Makes a node for one test case. */
export type MakeNode = (wish: NodeWish) => Promise<BlockNode>

const KIB = 1024
/** Size in bytes of the disk in most test cases. */
export const SIZE = 512 * KIB

/** Makes the nodes of a test case, and cleans up all of them. */
export interface Bench {
  /** Registers a node for the cleanup after the test case. */
  keep(node: BlockNode): BlockNode
  /** An empty disk. */
  fresh(wish?: Partial<NodeWish>): Promise<BlockNode>
  /** A disk full of data, with that data. */
  full(wish?: Partial<NodeWish>): Promise<[BlockNode, Uint8Array]>
  /** Crashes all nodes. */
  clear(): Promise<void>
}

/** A bench for one suite. */
export function createBench(makeNode: MakeNode): Bench {
  const open: BlockNode[] = []
  const keep = (node: BlockNode): BlockNode => {
    open.push(node)
    return node
  }
  const fresh = async (wish: Partial<NodeWish> = {}): Promise<BlockNode> =>
    keep(await makeNode({ size: SIZE, readOnly: false, writeCache: true, detectZeroes: 'off', ...wish }))
  return {
    keep,
    fresh,
    async full(wish) {
      const node = await fresh(wish)
      const content = pattern(node.size, 99)
      await node.write(0, content)
      return [node, content]
    },
    async clear() {
      for (const node of open.splice(0)) await node.crash()
    },
  }
}

/** Nodes that were crashed by a test case. */
export const crashed = new WeakSet<BlockNode>()

/** Crashes a node, and records it in {@link crashed}. */
export async function crash(node: BlockNode): Promise<void> {
  crashed.add(node)
  await node.crash()
}

/** Seeded data without zero bytes. */
export const pattern = (length: number, seed = 1): Uint8Array => createRandom(seed).bytes(length)

/** Reads a range. */
export async function readBack(node: BlockNode, offset: number, length: number): Promise<Uint8Array> {
  // Not zeroes, so that a read that fills too few bytes is noticed.
  const bytes = new Uint8Array(length).fill(0xee)
  await node.read(offset, bytes)
  return bytes
}

/** Expects a BlockError of that code. */
export const expectCode = (promise: Promise<unknown>, code: BlockErrorCode): Promise<void> =>
  expect(promise).rejects.toMatchObject({ name: 'BlockError', code })

/** Like `toEqual`, but fast for many bytes, and with a short message about the first difference. */
export function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length)
  for (let at = 0; at < actual.length; at++) {
    if (actual[at] !== expected[at]) expect.fail(`byte at ${at} is ${actual[at]}, not ${expected[at]}`)
  }
}

/** Aligned and unaligned ranges: [offset, length]. */
export const RANGES = [
  [0, 1],
  [0, 512],
  [1, 1],
  [511, 2],
  [512, 512],
  [1000, 3000],
  [4096, 4096],
  [4095, 4098],
  [65535, 2],
  [65536, 65536],
  [100_001, 300_003],
  [SIZE - 1, 1],
  [SIZE - 4097, 4097],
  [0, SIZE],
] as const

/** Counts the flushes that reach the driver. */
export function watchFlush(node: BlockNode): () => number {
  if (!node.can('flush')) return () => 0
  const spy = vi.spyOn(opsOf(node) as { flush: () => Promise<void> }, 'flush')
  return () => spy.mock.calls.length
}
