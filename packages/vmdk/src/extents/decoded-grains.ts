/** Grains that were decompressed last. */

/** Most bytes of grains that are kept decompressed. */
const KEPT = 2 ** 22
/** Grains of which parts were read: the next requests probably are for other parts. By host offset. */
export class DecodedGrains {
  readonly #grains = new Map<number, Promise<Uint8Array>>()
  readonly #most: number

  /** @param grainSize bytes */
  constructor(grainSize: number) {
    this.#most = Math.max(1, Math.floor(KEPT / grainSize))
  }

  /** The grain at a host offset; `decode` makes it if it is not kept. */
  get(host: number, decode: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.#grains.get(host)
    this.#grains.delete(host)
    const grain = known ?? decode()
    this.#grains.set(host, grain)
    if (!known) grain.catch(() => this.#grains.delete(host))
    for (const oldest of this.#grains.keys()) {
      if (this.#grains.size <= this.#most) break
      this.#grains.delete(oldest)
    }
    return grain
  }
}
