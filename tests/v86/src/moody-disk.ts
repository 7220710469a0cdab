/**
 * A disk in memory whose requests wait or fail on demand.
 * @module
 */
import { BlockError, type BlockNode, openMemory } from '@vmblock/block-core'
import { nodeOf } from '@vmblock/block-core/testing'

/** The kinds of requests. */
export type Request = 'read' | 'write' | 'flush' | 'discard'

/** A node in memory whose requests a test can hold or have fail. */
export class MoodyDisk {
  readonly node: BlockNode
  /** The requests so far, in order. */
  readonly log: Request[] = []
  readonly #memory: BlockNode
  readonly #failing = new Map<Request, 'EIO' | 'ENOSPC'>()
  readonly #held = new Map<Request, (() => void)[]>()

  constructor(bytes: number) {
    this.#memory = openMemory(new Uint8Array(bytes))
    const below = this.#memory
    this.node = nodeOf({
      size: () => bytes,
      read: (offset, into) => this.#ask('read', () => below.read(offset, into)),
      write: (offset, from) => this.#ask('write', () => below.write(offset, from)),
      discard: (offset, length) => this.#ask('discard', () => below.discard(offset, length)),
      flush: () => this.#ask('flush', () => below.flush()),
    })
  }

  /** From now on requests of that kind fail; undefined: they succeed again. */
  fail(request: Request, code?: 'EIO' | 'ENOSPC'): void {
    if (code) this.#failing.set(request, code)
    else this.#failing.delete(request)
  }

  /** From now on requests of that kind wait. */
  hold(request: Request): void {
    if (!this.#held.has(request)) this.#held.set(request, [])
  }

  release(request: Request): void {
    const waiting = this.#held.get(request) ?? []
    this.#held.delete(request)
    for (const goOn of waiting) goOn()
  }

  count(request: Request): number {
    return this.log.filter((entry) => entry === request).length
  }

  async content(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    await this.#memory.read(offset, bytes)
    return bytes
  }

  async #ask(request: Request, run: () => Promise<void>): Promise<void> {
    this.log.push(request)
    const held = this.#held.get(request)
    if (held) await new Promise<void>((resolve) => held.push(resolve))
    const code = this.#failing.get(request)
    if (code) throw new BlockError(code, `${request} fails, as it shall`)
    await run()
  }
}
