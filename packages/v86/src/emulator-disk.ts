/** The disk that an emulator is given: sectors by number, over everything that is in buffered-disk.ts. */
import { BlockError, type BlockNode, SECTOR } from '@vmblock/block-core'
import { BufferedDisk } from './buffered-disk.ts'
import type { DiskOptions } from './disk-options.ts'
import type { SectorDevice } from './sector-device.ts'

/** @throws BlockError EINVAL for a size, in bytes, that is not made of sectors; `what` names the disk */
export function requireSectors(bytes: number, what: string): void {
  if (bytes === 0 || bytes % SECTOR !== 0)
    throw new BlockError(
      'EINVAL',
      `a disk consists of sectors of ${SECTOR} bytes, and ${what} has ${bytes} bytes`,
    )
}

/** A block node as a {@link SectorDevice}. */
export class EmulatorDisk extends BufferedDisk implements SectorDevice {
  readonly sectorSize = SECTOR
  readonly sectors: number

  /** @throws BlockError EINVAL for a node whose size is not made of sectors, and for options that make no sense */
  constructor(node: BlockNode, options: DiskOptions = {}) {
    const { size } = node
    requireSectors(size, `'${node.filename || node.name}'`)
    super(node, options)
    this.sectors = size / SECTOR
  }

  readSync(sector: number, into: Uint8Array): boolean {
    return this.tryRead(offsetOf(sector, into.length), into)
  }

  async read(sector: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const offset = offsetOf(sector, into.length)
    if (!signal) return this.readAt(offset, into)
    // What arrives after somebody gave up must not touch his buffer.
    const buffer = new Uint8Array(into.length)
    await abortable(this.readAt(offset, buffer), signal)
    into.set(buffer)
  }

  writeSync(sector: number, from: Uint8Array): boolean {
    return this.tryWrite(offsetOf(sector, from.length), from)
  }

  async write(sector: number, from: Uint8Array): Promise<void> {
    await this.writeAt(offsetOf(sector, from.length), from)
  }

  async discard(sector: number, count: number): Promise<void> {
    await this.discardAt(offsetOf(sector, 0), count * SECTOR)
  }
}

/** @throws BlockError EINVAL for what is not made of sectors */
function offsetOf(sector: number, bytes: number): number {
  if (bytes % SECTOR !== 0)
    throw new BlockError('EINVAL', `a request of ${bytes} bytes is not made of sectors of ${SECTOR}`)
  if (!Number.isSafeInteger(sector)) throw new BlockError('EINVAL', `there is no sector ${sector}`)
  return sector * SECTOR
}

/** Waits no longer than `signal` allows. What is waited for goes on, unheard. */
async function abortable(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  let abort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(new BlockError('ECANCELED', 'the request was given up'))
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })
  try {
    await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort!)
  }
}
