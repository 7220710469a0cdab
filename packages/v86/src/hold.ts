/** What happens when the image fails: some failures hold requests until somebody has made room, others are reported. */
import { isBlockError } from '@vmblock/block-core'
import type { DiskOperation } from './disk-events.ts'
import type { DiskSettings } from './disk-options.ts'

/** The policies, and who is held by them. */
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

  /** Whether requests that fail so are held. */
  applies(operation: DiskOperation, error: unknown): boolean {
    const { werror, rerror } = this.#policies
    if (operation === 'read') return rerror === 'stop'
    return werror === 'stop' || (werror === 'enospc' && isNoSpace(error))
  }

  /** @returns whether nothing was held before */
  begin(error: unknown): boolean {
    if (this.#error) return false
    this.#error = { error }
    return true
  }

  /** Lets everybody go. @returns whether anything was held */
  end(): boolean {
    const wasHeld = this.isHeld
    this.#error = undefined
    for (const { resolve } of this.#takeWaiting()) resolve()
    return wasHeld
  }

  /** Resolves when nothing is held. */
  released(): Promise<void> {
    if (!this.#error) return Promise.resolve()
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  /** The disk ends: whoever is held is told. */
  fail(error: unknown): void {
    for (const { reject } of this.#takeWaiting()) reject(error)
  }

  #takeWaiting(): { resolve(): void; reject(error: unknown): void }[] {
    const waiting = this.#waiting
    this.#waiting = []
    return waiting
  }
}

/** Whether more room is all that is missing. Browsers call it a quota. */
function isNoSpace(error: unknown): boolean {
  if (isBlockError(error, 'ENOSPC') || isBlockError(error, 'EDQUOT')) return true
  const { name, cause } = (error ?? {}) as { readonly name?: unknown; readonly cause?: unknown }
  return name === 'QuotaExceededError' || (cause !== undefined && isNoSpace(cause))
}
