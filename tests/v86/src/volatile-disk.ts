/**
 * A growable disk in memory that loses power: each page written since the last flush is kept or lost, by
 * chance.
 * @module
 */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { nodeOf, type Random } from '@vmblock/block-core/testing'

const PAGE = 4096

/** A node in memory, and a medium that holds what was flushed. */
export class VolatileDisk {
  readonly #content: BlockNode
  /** By page, the contents of the medium where it is older than what was written. */
  #older = new Map<number, Uint8Array>()
  #sizeOnMedium: number
  flushes = 0

  constructor(bytes: Uint8Array) {
    this.#content = openMemory(bytes)
    this.#sizeOnMedium = bytes.length
  }

  /** Opens a node for one machine; its crash leaves the disk intact. */
  open(): BlockNode {
    const content = this.#content
    const change = async (offset: number, length: number, run: () => Promise<void>): Promise<void> => {
      await this.#keep(offset, length)
      await run()
    }
    return nodeOf(
      {
        growable: true,
        size: () => content.size,
        read: (offset, into) => content.read(offset, into),
        write: (offset, from) => change(offset, from.length, () => content.write(offset, from)),
        writeZeroes: (offset, length) => change(offset, length, () => content.writeZeroes(offset, length)),
        discard: (offset, length) => change(offset, length, () => content.discard(offset, length)),
        truncate: (size) =>
          change(Math.min(size, content.size), Math.abs(content.size - size), () => content.truncate(size)),
        flush: async () => {
          const written = this.#older
          const { size } = content
          this.#older = new Map()
          await content.flush()
          written.clear()
          this.#sizeOnMedium = size
          this.flushes++
        },
      },
      { name: 'volatile' },
    )
  }

  /** Loses unflushed pages at random. @returns the number of pages that were lost */
  async losePower(random: Random): Promise<number> {
    let lost = 0
    for (const [page, bytes] of this.#older) {
      if (!random.chance(0.5)) continue
      lost++
      await this.#content.write(page * PAGE, bytes)
    }
    this.#older = new Map()
    if (random.chance(0.5)) await this.#content.truncate(this.#sizeOnMedium)
    return lost
  }

  async bytes(): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.#content.size)
    await this.#content.read(0, bytes)
    return bytes
  }

  async #keep(offset: number, length: number): Promise<void> {
    const end = Math.min(offset + length, this.#content.size)
    for (let page = Math.floor(offset / PAGE); page * PAGE < end; page++) {
      if (this.#older.has(page)) continue
      const bytes = new Uint8Array(Math.min(PAGE, this.#content.size - page * PAGE))
      this.#older.set(page, bytes)
      await this.#content.read(page * PAGE, bytes)
    }
  }
}
