/** The disk for an emulator: numbered sectors on top of buffered-disk.ts. */
import { BlockError, type BlockNode, type Bytes } from '@vmblock/block-core'
import {
  bytesOf,
  bytesToFill,
  nodeTitle,
  requireCount,
  requireNode,
  requireSignal,
  SECTOR,
  shown,
} from '@vmblock/block-core/driver'
import { BufferedDisk } from './buffered-disk.ts'
import type { DiskOptions } from './disk-options.ts'
import type { SectorDevice } from './sector-device.ts'

/** Checks a disk size in bytes; `what` names the disk. @throws BlockError EINVAL if not whole sectors */
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

  /** @throws BlockError EINVAL for a node whose size is not whole sectors, and for invalid options */
  constructor(node: BlockNode, options: DiskOptions = {}) {
    requireNode(node, 'node')
    const { size } = node
    requireSectors(size, nodeTitle(node))
    super(node, options)
    this.sectors = size / SECTOR
  }

  readSync(sector: number, into: Bytes): boolean {
    const bytes = bytesToFill(into)
    return this.tryRead(offsetOf(sector, bytes.length), bytes)
  }

  async read(sector: number, into: Bytes, signal?: AbortSignal): Promise<void> {
    const bytes = bytesToFill(into)
    const offset = offsetOf(sector, bytes.length)
    if (signal === undefined) return this.readAt(offset, bytes)
    requireSignal(signal, 'signal')
    // Data that arrives after the read was aborted must not touch the caller's buffer.
    const buffer = new Uint8Array(bytes.length)
    await abortable(this.readAt(offset, buffer), signal)
    bytes.set(buffer)
  }

  writeSync(sector: number, from: Bytes): boolean {
    const bytes = bytesOf(from, 'from')
    return this.tryWrite(offsetOf(sector, bytes.length), bytes)
  }

  async write(sector: number, from: Bytes): Promise<void> {
    const bytes = bytesOf(from, 'from')
    await this.writeAt(offsetOf(sector, bytes.length), bytes)
  }

  async discard(sector: number, count: number): Promise<void> {
    requireCount(count, 'count')
    await this.discardAt(offsetOf(sector, 0), count * SECTOR)
  }
}

/** @throws BlockError EINVAL for a request that is not whole sectors */
function offsetOf(sector: number, bytes: number): number {
  if (bytes % SECTOR !== 0)
    throw new BlockError('EINVAL', `a request of ${bytes} bytes is not made of sectors of ${SECTOR}`)
  if (!Number.isSafeInteger(sector)) throw new BlockError('EINVAL', `there is no sector ${shown(sector)}`)
  return sector * SECTOR
}

/** Waits until `signal` aborts. The operation itself goes on, and its result is dropped. */
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
