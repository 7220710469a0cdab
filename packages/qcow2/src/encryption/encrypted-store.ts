/**
 * Guest data that is encrypted where it lies. Compressed clusters never come here: they are stored as they are, by every
 * program.
 */
import {
  type BlockStatus,
  type Preallocation,
  pause,
  SECTOR,
  type WriteFlags,
} from '@vmblock/block-core/driver'
import type { SectorCipher } from '@vmblock/crypto'
import type { Allocated, ClusterStore } from '../image/cluster-store.ts'
import type { FreeReason } from '../image/frees.ts'

/** Bytes that are encrypted at once: about a millisecond, and the memory that a request takes beside its data. */
const PIECE = 2 ** 18
/** Of that, small requests ({@link pause}). */
const UNITS = PIECE / 16384

/** A store for plain data over one for encrypted data. */
export class EncryptedStore implements ClusterStore {
  readonly #store: ClusterStore
  readonly #cipher: SectorCipher
  readonly #byHost: boolean

  /** @param byHost sectors are numbered by their host offset; else by that of the guest */
  constructor(store: ClusterStore, cipher: SectorCipher, byHost: boolean) {
    this.#store = store
    this.#cipher = cipher
    this.#byHost = byHost
  }

  async read(host: number, into: Uint8Array, guest: number): Promise<void> {
    await this.#store.read(host, into, guest)
    const first = (this.#byHost ? host : guest) / SECTOR
    for (let at = 0; at < into.length; at += PIECE) {
      const turn = at > 0 ? pause(UNITS) : undefined
      if (turn) await turn
      const piece = into.subarray(at, at + PIECE)
      this.#cipher.decrypt(first + at / SECTOR, piece, piece)
    }
  }

  async write(host: number, from: Uint8Array, guest: number): Promise<void> {
    const first = (this.#byHost ? host : guest) / SECTOR
    const sealed = new Uint8Array(Math.min(from.length, PIECE))
    for (let at = 0; at < from.length; at += PIECE) {
      const piece = from.subarray(at, at + PIECE)
      const part = sealed.subarray(0, piece.length)
      this.#cipher.encrypt(first + at / SECTOR, piece, part)
      await this.#store.write(host + at, part, guest + at)
    }
  }

  flush(): Promise<void> {
    return this.#store.flush()
  }
  /** Others would copy what is stored. */
  locate(): BlockStatus['host'] {
    return undefined
  }

  guard(host: number, bytes: number): Promise<void> | undefined {
    return this.#store.guard(host, bytes)
  }
  allocate(guest: number, count: number): Allocated | Promise<Allocated> {
    const allocated = this.#store.allocate(guest, count)
    return allocated instanceof Promise ? allocated.then(asNoise) : asNoise(allocated)
  }
  release(host: number, bytes: number): Promise<void> | undefined {
    return this.#store.release(host, bytes)
  }
  free(host: number, bytes: number, reason: FreeReason): void {
    this.#store.free(host, bytes, reason)
  }
  fileEndFor(hostEnd: number): number {
    return this.#store.fileEndFor(hostEnd)
  }

  get holdsInPlaceWrites(): boolean {
    return this.#store.holdsInPlaceWrites === true
  }
  beforeZeroing(guest: number, bytes: number, flags: WriteFlags): Promise<void> | undefined {
    return this.#store.beforeZeroing?.(guest, bytes, flags)
  }
  afterDiscard(guest: number, bytes: number): Promise<void> | undefined {
    return this.#store.afterDiscard?.(guest, bytes)
  }
  async grow(size: number, preallocation: Preallocation): Promise<void> {
    await this.#store.grow?.(size, preallocation)
  }
  async truncate(size: number): Promise<void> {
    await this.#store.truncate?.(size)
  }
}

/** Zeroes that were never written decrypt to noise. */
const asNoise = ({ offset }: Allocated): Allocated => ({ offset, zeroed: false })
