/**
 * The parts we use of objects that platforms have, as types that need neither the DOM's nor Node.js's
 * declarations: an application in strict mode compiles with whichever it has.
 */

/** An `AbortSignal`. */
export interface AbortSignalLike {
  readonly aborted: boolean
  readonly reason?: unknown
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** A `Worker`. */
export interface WorkerLike {
  // biome-ignore lint/suspicious/noExplicitAny: each platform has events of its own
  addEventListener(type: string, listener: (event: any) => void): void
  postMessage(message: unknown, options?: { readonly transfer?: ArrayBuffer[] }): void
  terminate(): unknown
}

/** A `URL`. */
export interface UrlLike {
  readonly href: string
  readonly host: string
  readonly protocol: string
  readonly pathname: string
}
