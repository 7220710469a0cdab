/**
 * A disk as the drive of an emulator wants it: whole sectors, by number, at once where nothing has to be waited for. This is
 * all that an emulator needs to know of us; v86 has its own interface (v86-disk.ts), which is a thin layer over this one.
 */
import { type Bytes, expects, requireCallback } from '@vmblock/block-core'

/** A disk of sectors. Buffers are whole sectors, and requests lie inside the disk; what is not is refused with EINVAL or EIO. */
export interface SectorDevice {
  /** Bytes in a sector. */
  readonly sectorSize: number
  /** How many sectors there are. */
  readonly sectors: number
  readonly readOnly: boolean
  /**
   * Fills `into` if that needs no waiting. What was written before, and is still on its way, is what is read.
   *
   * @returns false where it does: then nothing was done, and {@link read} is to be asked
   */
  readSync(sector: number, into: Bytes): boolean
  /**
   * Fills `into`, behind all writes of these sectors that were asked for before.
   *
   * @param signal gives up waiting: rejects with ECANCELED, and `into` is not touched from then on
   * @throws BlockError as the image, or what holds it, failed
   */
  read(sector: number, into: Bytes, signal?: AbortSignal): Promise<void>
  /**
   * Takes a copy of `from`, if there is room for it and it need not be durable at once.
   *
   * @returns false where not: then nothing was taken, and {@link write} is to be asked
   */
  writeSync(sector: number, from: Bytes): boolean
  /**
   * Takes a copy of `from` before it returns, so that the buffer is the caller's again. Resolves once more may be written
   * (`write-back`), or once it is durable (`write-through`). Writes reach the image in the order of the calls.
   *
   * @throws BlockError EPERM on a read-only disk, and as the image failed
   */
  write(sector: number, from: Bytes): Promise<void>
  /** Gives up the content of sectors (TRIM), in order with the writes. */
  discard(sector: number, count: number): Promise<void>
  /** Resolves when everything that was written before the call is durable. @throws BlockError where it is not */
  flush(): Promise<void>
}

/** Told of the end of a request, perhaps before the call that asked for it has returned. */
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

/** The same disk with callbacks instead of promises; what needs no waiting is done before the call returns. */
export function withCallbacks(device: SectorDevice): CallbackDevice {
  requireDevice(device, 'device')
  const tell = (promise: Promise<void>, done: SectorsDone): void => {
    // Two arguments: what `done` itself throws is no failure of the disk.
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
