/** Errors at requests to a file by their number: where a step announces no event, or is one of many that announce the same. */
import {
  aroundRequests,
  BlockError,
  type BlockErrorCode,
  defineDriver,
  forwardOps,
} from '@vmblock/block-core/driver'

/** Fails requests that change the file, or flush it: from number `first` on, `count` of them. */
export class FaultyRequests {
  /** Requests until now. */
  seen = 0
  readonly #isDue: () => boolean
  readonly #code: BlockErrorCode

  constructor(first: number, count: number, code: BlockErrorCode) {
    this.#code = code
    this.#isDue = () => {
      const number = this.seen++
      return number >= first && number < first + count
    }
  }

  /** The filter `faults`, to be put above the file. */
  readonly driver = defineDriver({
    name: 'faults',
    kind: 'filter',
    open: async (context) =>
      aroundRequests(forwardOps(await context.requireChild('file')), async ({ kind }, run) => {
        if (kind === 'read') return run()
        if (this.#isDue()) throw new BlockError(this.#code, 'injected')
        return run()
      }),
  })
}
