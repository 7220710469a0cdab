/** The failure policy of a disk: some failures hold requests until there is room, others are reported. */
import { isBlockError } from '@vmblock/block-core'
import type { DiskOperation } from './disk-events.ts'
import type { DiskSettings } from './disk-options.ts'

/** The policies, and the requests they hold. */
export class Hold {
  readonly #policies: Pick<DiskSettings, 'werror' | 'rerror'>
  #error: { readonly error: unknown } | undefined
  #waiting: { resolve(): void; reject(error: unknown): void }[] = []

  constructor(policies: Pick<DiskSettings, 'werror' | 'rerror'>) {
    this.#policies = policies
  }

  get isHeld(): boolean {
    return this.#error !== undefined
  }

  /** Whether the policy holds requests after this failure. */
  applies(operation: DiskOperation, error: unknown): boolean {
    const { werror, rerror } = this.#policies
    if (operation === 'read') return rerror === 'stop'
    return werror === 'stop' || (werror === 'enospc' && isNoSpace(error))
  }

  /** Starts holding requests. @returns whether they were not held before */
  begin(error: unknown): boolean {
    if (this.#error) return false
    this.#error = { error }
    return true
  }

  /** Releases all requests. @returns whether any were held */
  end(): boolean {
    const wasHeld = this.isHeld
    this.#error = undefined
    for (const { resolve } of this.#takeWaiting()) resolve()
    return wasHeld
  }

  /** Resolves when requests are no longer held. */
  released(): Promise<void> {
    if (!this.#error) return Promise.resolve()
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  /** Rejects all held requests, since the disk ends. */
  fail(error: unknown): void {
    for (const { reject } of this.#takeWaiting()) reject(error)
  }

  #takeWaiting(): { resolve(): void; reject(error: unknown): void }[] {
    const waiting = this.#waiting
    this.#waiting = []
    return waiting
  }
}

/** Whether the error is a lack of space. Browsers call it a quota. */
function isNoSpace(error: unknown): boolean {
  if (isBlockError(error, 'ENOSPC') || isBlockError(error, 'EDQUOT')) return true
  const { name, cause } = (error ?? {}) as { readonly name?: unknown; readonly cause?: unknown }
  return name === 'QuotaExceededError' || (cause !== undefined && isNoSpace(cause))
}
