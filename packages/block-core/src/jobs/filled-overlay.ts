/**
 * Puts into an image what shows through it, while the writes of its users wait: straight to its driver, whose node
 * holds those back. What the image shows stays the same, so observers, and bitmaps, are not told.
 */
import { alignDown, alignUp } from '../base/bits.ts'
import { failureOf } from '../base/errno.ts'
import { writeZeroesInPieces } from '../graph/fallbacks.ts'
import type { LinkedNode } from '../graph/links.ts'
import { unsupportedError } from '../graph/node-errors.ts'

/** Offsets and lengths in bytes: whole units of {@link grain}, but where the disk ends, or a range begins that it has. */
export class FilledOverlay {
  readonly #node: LinkedNode
  readonly #compress: boolean
  /** The smallest unit, in bytes, that can be put in without copying more. */
  readonly grain: number

  /** @throws BlockError ENOTSUP if it has to compress, and the format cannot */
  constructor(node: LinkedNode, { compress = false }: { readonly compress?: boolean | undefined }) {
    const { requestAlignment, writeZeroesAlignment, compressedAlignment } = node.limits
    if (compress && !node.ops.writeCompressed) throw unsupportedError(node, 'compressed writes')
    this.#node = node
    this.#compress = compress
    this.grain = Math.max(requestAlignment, writeZeroesAlignment, compress ? compressedAlignment : 1)
  }

  /** Writes data: whole clusters compressed, if asked for. @throws BlockError */
  async write(offset: number, data: Uint8Array): Promise<void> {
    const { ops, limits, size } = this.#node
    const cluster = limits.compressedAlignment
    const end = offset + data.length
    const start = Math.min(alignUp(offset, cluster), end)
    const stop = end === size ? end : Math.max(alignDown(end, cluster), start)
    try {
      if (!this.#compress || start === stop) return await this.#plain(offset, data)
      if (start > offset) await this.#plain(offset, data.subarray(0, start - offset))
      await ops.writeCompressed!(start, data.subarray(start - offset, stop - offset))
      if (end > stop) await this.#plain(stop, data.subarray(stop - offset))
    } catch (error) {
      throw failureOf('Error while writing to COW image', error, offset)
    }
  }

  /**
   * Writes zeroes as data where the image still holds nothing: without a backing file, a driver may leave zeroes out
   * (version 2 of qcow2), but soon there is one. QEMU forgets that.
   */
  async #holdZeroes(offset: number, bytes: number): Promise<void> {
    for (let at = offset; at < offset + bytes; ) {
      const status = await this.#node.blockStatus(at, offset + bytes - at)
      if (!status.allocated)
        await writeZeroesInPieces(
          { limits: this.#node.limits, writeZeroes: undefined, write: (...run) => this.#plain(...run) },
          at,
          status.bytes,
          {},
        )
      at += status.bytes
    }
  }

  async #plain(offset: number, data: Uint8Array): Promise<void> {
    const { ops, limits } = this.#node
    for (let done = 0; done < data.length; done += limits.maxTransfer)
      await ops.write!(offset + done, data.subarray(done, done + limits.maxTransfer), {})
  }

  /** Makes a range zero that showed zeroes: by the tables, or, where the format cannot, as data. @throws BlockError */
  async zero(offset: number, bytes: number): Promise<void> {
    const { ops, limits, backing } = this.#node
    const writer = {
      limits,
      writeZeroes: ops.writeZeroes?.bind(ops),
      write: (at: number, data: Uint8Array) => this.#plain(at, data),
    }
    try {
      await writeZeroesInPieces(writer, offset, bytes, {})
      if (!backing) await this.#holdZeroes(offset, bytes)
    } catch (error) {
      throw failureOf('Error while writing to COW image', error, offset)
    }
  }
}
