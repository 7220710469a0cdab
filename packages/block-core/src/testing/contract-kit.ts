/** What the cases of the driver contract share: how they get their nodes, and how they look at them. */
import { expect, vi } from 'vitest'
import type { BlockErrorCode } from '../errors.ts'
import type { BlockNode } from '../node.ts'
import type { DiscardResult } from './model.ts'
import { createRandom } from './random.ts'

/** The node that a case needs: fresh, open, all zeroes. */
export interface NodeWish {
  /** Bytes; a multiple of 64 KiB unless the driver takes {@link DriverCapabilities.unalignedSizes}. */
  readonly size: number
  readonly readOnly: boolean
  /** Off: a write-through node. */
  readonly writeCache: boolean
  readonly detectZeroes: 'off' | 'on' | 'unmap'
}

/** What not every driver does alike. */
export interface DriverCapabilities {
  /** What a discarded range reads as; `undefined` promises nothing. Default `undefined`. */
  readonly discard?: DiscardResult
  /** Sizes that `truncate` takes. Default `none`. */
  readonly truncate?: 'grow-and-shrink' | 'grow' | 'none'
  /** Sizes may be any number of bytes. Default no. */
  readonly unalignedSizes?: boolean
  /** `blockStatus` tells a fresh disk's zeroes from data. Default no. */
  readonly knowsZeroes?: boolean
  /**
   * Opens, writable, the disk of a node that was closed or that crashed. Default: the disk is gone then.
   * It must have let the node go: nothing else was done to it.
   */
  reopen?(node: BlockNode): Promise<BlockNode>
  /** Granularity of the random runs, in bytes: a cluster. Default 4096. */
  readonly granularity?: number
  /** Seeds of the random runs. Default 3 of them. */
  readonly seeds?: readonly number[]
}

/** Makes a node for one case. */
export type MakeNode = (wish: NodeWish) => Promise<BlockNode>

const KIB = 1024
/** Bytes of the disk that most cases use. */
export const SIZE = 512 * KIB

/** Makes the nodes of a case, and forgets none. */
export interface Bench {
  /** Declares a node for the clean-up after the case. */
  keep(node: BlockNode): BlockNode
  /** An empty disk. */
  fresh(wish?: Partial<NodeWish>): Promise<BlockNode>
  /** A disk full of data, with that data. */
  full(wish?: Partial<NodeWish>): Promise<[BlockNode, Uint8Array]>
  /** Lets go of all nodes. */
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

/** Nodes that a case made crash. */
export const crashed = new WeakSet<BlockNode>()

/** Crashes a node, and remembers that. */
export async function crash(node: BlockNode): Promise<void> {
  crashed.add(node)
  await node.crash()
}

/** Seeded data without a zero in it. */
export const pattern = (length: number, seed = 1): Uint8Array => createRandom(seed).bytes(length)

/** Reads a range. */
export async function readBack(node: BlockNode, offset: number, length: number): Promise<Uint8Array> {
  // Not zeroes, so that a read that fills too little shows.
  const bytes = new Uint8Array(length).fill(0xee)
  await node.read(offset, bytes)
  return bytes
}

/** Expects a BlockError of that code. */
export const expectCode = (promise: Promise<unknown>, code: BlockErrorCode): Promise<void> =>
  expect(promise).rejects.toMatchObject({ name: 'BlockError', code })

/** As `toEqual`, but quick for many bytes, and short about where they differ. */
export function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length)
  for (let at = 0; at < actual.length; at++) {
    if (actual[at] !== expected[at]) expect.fail(`byte at ${at} is ${actual[at]}, not ${expected[at]}`)
  }
}

/** Odd and even places: [offset, length]. */
export const PLACES = [
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

/** Counts the flushes that the driver is asked for. */
export function watchFlush(node: BlockNode): () => number {
  if (!node.can('flush')) return () => 0
  const spy = vi.spyOn(node.ops as { flush: () => Promise<void> }, 'flush')
  return () => spy.mock.calls.length
}
