/**
 * A node whose requests end when a test says so, in any order: requests that the caller does not order end
 * out of order. A write takes effect when it ends; the content at the start of a flush is durable when the
 * flush ends.
 */
import type { BlockNode } from '@vmblock/block-core'
import { nodeOf, type Random } from '@vmblock/block-core/testing'

type Kind = 'read' | 'write' | 'flush' | 'discard'

/** A request that has not ended yet. */
export interface SlowRequest {
  readonly kind: Kind
  readonly offset: number
  readonly bytes: number
  /** Carries out the request, and resolves it. */
  end(): void
  fail(error: unknown): void
}

/** See the head of this file. */
export class SlowDisk {
  readonly content: Uint8Array
  durable: Uint8Array
  readonly node: BlockNode
  readonly pending: SlowRequest[] = []
  /** All requests, in order. */
  readonly log: { readonly kind: Kind; readonly offset: number; readonly bytes: number }[] = []
  /** Whether requests end by themselves, at once. */
  isFast = false
  /** Makes the error that requests fail with; undefined: they succeed. */
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

  /** Ends a random request. @returns false if there is none */
  step(random: Random): boolean {
    if (this.pending.length === 0) return false
    random.pick(this.pending).end()
    return true
  }

  /** Ends all requests, now and from now on. */
  hurry(): void {
    this.isFast = true
    for (const request of [...this.pending]) request.end()
  }
}

/** Runs all microtasks that wait for nothing else. */
export async function runMicrotasks(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve()
}

/** Compares many bytes faster than a test runner does. @returns the first offset where they differ, or -1 */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length)
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return at
  return -1
}
