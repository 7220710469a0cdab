/**
 * The images that a command has open. The program closes them when the command has ended, so a command opens what it
 * needs and goes on, from top to bottom.
 */
import type { BlockNode } from '@vmblock/block-core'
import type { Output } from './output.ts'

/** Images to close, and steps to take back, the last one first. */
export class OpenImages {
  readonly #output: Output
  /** Each takes the exit status so far, and returns the new one. */
  readonly #endings: ((status: number) => Promise<number>)[] = []

  constructor(output: Output) {
    this.#output = output
  }

  /** Leaves closing an image to the program. @returns the image */
  keep<N extends BlockNode>(node: N): N {
    this.#endings.push(async (status) => {
      try {
        await node.close()
        return status
      } catch (error) {
        // An earlier failure is the cause, and is reported.
        if (status === 0) this.#output.explain(error, `Could not close '${node.filename}': `)
        return status || 1
      }
    })
    return node
  }

  /** Lets `undo` run, once later images are closed, if the command has failed by then; it takes the exit status. */
  ifFailed(undo: (status: number) => Promise<void>): void {
    this.#endings.push(async (status) => {
      if (status !== 0) await undo(status)
      return status
    })
  }

  /**
   * Closes all images, whatever happens.
   *
   * @param status the command's exit status
   * @returns that status; 1 if it was 0 and closing failed, since data may be lost then
   */
  async close(status: number): Promise<number> {
    let result = status
    for (let end = this.#endings.pop(); end; end = this.#endings.pop()) result = await end(result)
    return result
  }
}
