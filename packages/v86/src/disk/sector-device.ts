/**
 * A disk as an emulator's drive needs it: whole sectors, by number, synchronously if nothing has to be waited
 * for. This is the whole interface for emulators; v86 has its own (v86-disk.ts), a thin layer over this one.
 */
import type { Bytes } from '@vmblock/block-core'
import { expects, requireCallback } from '@vmblock/block-core/driver'

/** A disk of sectors. Refuses buffers that are not whole sectors (EINVAL), and requests outside (EIO). */
export interface SectorDevice {
  /** Bytes in a sector. */
  readonly sectorSize: number
  /** Number of sectors. */
  readonly sectors: number
  readonly readOnly: boolean
  /**
   * Fills `into` if that needs no waiting. Reads see earlier writes, even those not yet in the image.
   *
   * @returns false if it needs waiting: then nothing was done; use {@link read}
   */
  readSync(sector: number, into: Bytes): boolean
  /**
   * Fills `into`, after all earlier writes to these sectors.
   *
   * @param signal aborts the wait: rejects with ECANCELED, and `into` is not touched from then on
   * @throws BlockError as the image or its storage fails
   */
  read(sector: number, into: Bytes, signal?: AbortSignal): Promise<void>
  /**
   * Takes a copy of `from`, if there is room and the write need not be durable at once.
   *
   * @returns false otherwise: then nothing was written; use {@link write}
   */
  writeSync(sector: number, from: Bytes): boolean
  /**
   * Takes a copy of `from` before it returns, so that the buffer is the caller's again. Resolves once there
   * is room for more (`write-back`), or once the write is durable (`write-through`). Writes reach the image
   * in the order of the calls.
   *
   * @throws BlockError EPERM on a read-only disk, and as the image fails
   */
  write(sector: number, from: Bytes): Promise<void>
  /** Discards the content of sectors (TRIM), in order with the writes. */
  discard(sector: number, count: number): Promise<void>
  /** Resolves when everything written before the call is durable. @throws BlockError if it is not */
  flush(): Promise<void>
}

/** Called when a request has ended, possibly before the call that made it returns. */
export type SectorsDone = (error?: unknown) => void

/** A {@link SectorDevice} for emulators that are written with callbacks. */
export interface CallbackDevice {
  read(sector: number, into: Bytes, done: SectorsDone, signal?: AbortSignal): void
  /** `from` is the caller's again when the call returns. */
  write(sector: number, from: Bytes, done: SectorsDone): void
  discard(sector: number, count: number, done: SectorsDone): void
  flush(done: SectorsDone): void
}

const requireDevice = expects('a SectorDevice', (value) => {
  const { readSync, read, writeSync, write, discard, flush } = (value ?? {}) as Partial<SectorDevice>
  return [readSync, read, writeSync, write, discard, flush].every((method) => typeof method === 'function')
})

/** Wraps a disk with callbacks instead of promises; requests that need not wait end before the call does. */
export function withCallbacks(device: SectorDevice): CallbackDevice {
  requireDevice(device, 'device')
  const tell = (promise: Promise<void>, done: SectorsDone): void => {
    // Two arguments: an exception of `done` itself is not a failure of the disk.
    promise.then(
      () => done(),
      (error: unknown) => done(error),
    )
  }
  return {
    read(sector, into, done, signal) {
      requireCallback(done, 'done')
      if (device.readSync(sector, into)) done()
      else tell(device.read(sector, into, signal), done)
    },
    write(sector, from, done) {
      requireCallback(done, 'done')
      if (device.writeSync(sector, from)) done()
      else tell(device.write(sector, from), done)
    },
    discard(sector, count, done) {
      requireCallback(done, 'done')
      tell(device.discard(sector, count), done)
    },
    flush(done) {
      requireCallback(done, 'done')
      tell(device.flush(), done)
    },
  }
}
