/** An open image: the map of its chunks, and those that were decoded last. */
import { type BlockChild, BlockError, messageOf } from '@vmblock/block-core/driver'
import { DecodedCache } from '@vmblock/block-core/late'
import { COMPRESSIONS } from './decoders.ts'
import { placeOf } from './format/chunk-map.ts'
import { type Chunk, isZeroType, TYPE } from './format/chunks.ts'

/** What an image is made of. */
export interface ImageParts {
  readonly nodeName: string
  readonly file: BlockChild
  /** Bytes of the disk. */
  readonly size: number
  /** Sorted; none has a sector of another. */
  readonly chunks: readonly Chunk[]
}

/** Bytes that all at the same place and in the same way. */
export type Piece =
  | { readonly kind: 'zero'; readonly bytes: number }
  | { readonly kind: 'raw'; readonly bytes: number; readonly host: number }
  | { readonly kind: 'compressed'; readonly bytes: number; readonly chunk: Chunk; readonly within: number }
  /** No chunk has them, or one of a type that is not known. */
  | { readonly kind: 'unknown'; readonly bytes: number; readonly why: string }

/** An open image. */
export class Image {
  readonly file: BlockChild
  readonly size: number
  readonly #name: string
  readonly #chunks: readonly Chunk[]
  readonly #decoded = new DecodedCache()

  constructor({ nodeName, file, size, chunks }: ImageParts) {
    this.file = file
    this.size = size
    this.#name = nodeName
    this.#chunks = chunks
  }

  /**
   * What is at a guest offset, up to where that changes.
   *
   * @param most bytes that are asked for
   */
  pieceAt(offset: number, most: number): Piece {
    const chunk = this.#chunks[placeOf(this.#chunks, offset)]
    if (!chunk || chunk.start > offset) {
      const bytes = chunk ? Math.min(chunk.start - offset, most) : most
      return { kind: 'unknown', bytes, why: 'no chunk of the dmg image has this sector' }
    }
    const within = offset - chunk.start
    const bytes = Math.min(chunk.bytes - within, most)
    if (isZeroType(chunk.type)) return { kind: 'zero', bytes }
    if (chunk.type === TYPE.raw) {
      const there = chunk.hostBytes - within
      // Where the data is too short, the rest is zero. QEMU shows what its buffer last held.
      return there > 0
        ? { kind: 'raw', bytes: Math.min(bytes, there), host: chunk.host + within }
        : { kind: 'zero', bytes }
    }
    if (COMPRESSIONS.has(chunk.type)) return { kind: 'compressed', bytes, chunk, within }
    const type = `0x${chunk.type.toString(16)}`
    return { kind: 'unknown', bytes, why: `the chunk of the dmg image is of the unknown type ${type}` }
  }

  /**
   * The content of a compressed chunk.
   *
   * @throws BlockError EIO if it is damaged, or the code for it cannot be loaded; errors of the file
   */
  decoded(chunk: Chunk): Promise<Uint8Array> {
    return this.#decoded.get(chunk.start, chunk.bytes, () => this.#decode(chunk))
  }

  async #decode(chunk: Chunk): Promise<Uint8Array> {
    const { start, bytes, host, hostBytes } = chunk
    const { name, load } = COMPRESSIONS.get(chunk.type)!
    const broken = (why: string, cause?: unknown): BlockError =>
      new BlockError(
        'EIO',
        `A chunk of the dmg image (${name}, ${hostBytes} bytes at ${host}) is broken: ${why}`,
        {
          node: this.#name,
          offset: start,
          cause,
        },
      )
    this.requireInside(start, host, hostBytes)
    // What is not smaller is stored raw, so memory for more is not given.
    if (hostBytes > bytes + bytes / 8 + 65536) throw broken(`it holds only ${bytes} bytes`)
    const decode = await load()
    const data = new Uint8Array(hostBytes)
    await this.file.read(host, data)
    try {
      return await decode(data, bytes)
    } catch (error) {
      throw broken(messageOf(error), error)
    }
  }

  /** @throws BlockError EIO if data of the guest offset `start` is not in the file */
  requireInside(start: number, host: number, bytes: number): void {
    if (host + bytes > this.file.size)
      throw new BlockError(
        'EIO',
        `The data of the dmg image at ${host} to ${host + bytes} is behind the end of the file`,
        { node: this.#name, offset: start },
      )
  }

  /** @returns the error for a piece that cannot be read */
  unreadable(offset: number, why: string): BlockError {
    return new BlockError('EIO', `Cannot read at ${offset}: ${why}`, { node: this.#name, offset })
  }

  drop(): void {
    this.#decoded.drop()
  }
}
