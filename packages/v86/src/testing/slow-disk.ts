/**
 * A node whose requests end when a test says so, in any order: what is not ordered by whoever asks comes out of order. A write
 * appears when it ends; what was there when a flush began is durable when the flush ends.
 */
import type { BlockNode } from '@vmblock/block-core'
import { nodeOf, type Random } from '@vmblock/block-core/testing'

type Kind = 'read' | 'write' | 'flush' | 'discard'

/** A request that has not ended yet. */
export interface SlowRequest {
  readonly kind: Kind
  readonly offset: number
  readonly bytes: number
  /** Does it, and tells whoever waits. */
  end(): void
  fail(error: unknown): void
}

/** See the head of this file. */
export class SlowDisk {
  readonly content: Uint8Array
  durable: Uint8Array
  readonly node: BlockNode
  readonly pending: SlowRequest[] = []
  /** Everything that was asked for, in order. */
  readonly log: { readonly kind: Kind; readonly offset: number; readonly bytes: number }[] = []
  /** Requests end by themselves, at once. */
  isFast = false
  /** What requests fail with, while there is something. */
  failure: ((kind: Kind) => unknown) | undefined

  constructor(bytes: number, { readOnly = false }: { readonly readOnly?: boolean } = {}) {
    this.content = new Uint8Array(bytes)
    this.durable = new Uint8Array(bytes)
    this.node = nodeOf(
      {
        size: () => bytes,
        read: (offset, into) =>
          this.#ask('read', offset, into.length, () =>
            into.set(this.content.subarray(offset, offset + into.length)),
          ),
        write: (offset, from) =>
          this.#ask('write', offset, from.length, () => this.content.set(from, offset)),
        discard: (offset, length) =>
          this.#ask('discard', offset, length, () => this.content.fill(0, offset, offset + length)),
        flush: () => {
          const snapshot = this.content.slice()
          return this.#ask('flush', 0, 0, () => {
            this.durable = snapshot
          })
        },
      },
      { config: { readOnly } },
    )
  }

  #ask(kind: Kind, offset: number, bytes: number, run: () => void): Promise<void> {
    this.log.push({ kind, offset, bytes })
    const failure = this.failure?.(kind)
    if (failure !== undefined) return Promise.reject(failure)
    if (this.isFast) {
      run()
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const take = (): void => void this.pending.splice(this.pending.indexOf(request), 1)
      const request: SlowRequest = {
        kind,
        offset,
        bytes,
        end() {
          take()
          run()
          resolve()
        },
        fail(error) {
          take()
          reject(error)
        },
      }
      this.pending.push(request)
    })
  }

  /** Ends one request, whichever; false: there is none. */
  step(random: Random): boolean {
    if (this.pending.length === 0) return false
    random.pick(this.pending).end()
    return true
  }

  /** From now on nothing waits. */
  hurry(): void {
    this.isFast = true
    for (const request of [...this.pending]) request.end()
  }
}

/** Lets everything happen that waits for nothing but its turn. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve()
}

/** Compares many bytes faster than a test runner does. @returns the first place where they differ, or -1 */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length)
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return at
  return -1
}
