/** The data of an image: encrypted sector by sector, at a fixed distance from the start of the file. */
import {
  alignDown,
  alignUp,
  type BlockChild,
  type BlockError,
  inParts,
  type NodeOps,
  pause,
  SECTOR,
} from '@vmblock/block-core/driver'
import type { SectorCipher } from '@vmblock/crypto'

/** Where the data is. */
export interface Payload {
  /** Bytes from the start of the file. */
  readonly offset: number
  /** Bytes; undefined: up to the end of the file. */
  readonly size: number | undefined
  /** Number of the first sector, for its initial vector; in units of 512 bytes. */
  readonly firstSector: number
  /** Bytes that are encrypted together. */
  readonly sectorSize: number
}

/** Bytes of a request to the file, and so the memory that each of its parts takes beside the data; as in QEMU. */
const PART = 2 ** 20
/** Bytes that are encrypted at once: about a millisecond. */
const PIECE = 2 ** 18
/** Of that, small requests ({@link pause}). */
const UNITS = PIECE / 16384

type Operations = Required<Pick<NodeOps, 'limits' | 'size' | 'read'>> & NodeOps

/**
 * The operations of a disk.
 *
 * @param cipher undefined: the disk is only described, and nothing of it can be read
 * @param fail makes the errors
 */
export function diskOps(
  file: BlockChild,
  payload: Payload,
  cipher: SectorCipher | undefined,
  fail: (code: 'EINVAL' | 'ENOTSUP', message: string) => BlockError,
): Operations {
  const { offset: start, sectorSize, firstSector } = payload
  /** A last sector may be there in part: QEMU gives a file the length that was asked for. */
  const size = (): number =>
    payload.size ?? Math.max(0, alignDown(alignUp(file.size, SECTOR) - start, sectorSize))
  if (!cipher) {
    const refuse = (): Promise<never> =>
      Promise.reject(fail('EINVAL', "Parameter 'key-secret' is required for cipher"))
    return { limits: { requestAlignment: sectorSize }, size, read: refuse }
  }
  const through = async (
    direction: 'encrypt' | 'decrypt',
    offset: number,
    from: Uint8Array,
    into: Uint8Array,
  ): Promise<void> => {
    for (let at = 0; at < from.length; at += PIECE) {
      const turn = at > 0 ? pause(UNITS) : undefined
      if (turn) await turn
      const sector = firstSector + (offset + at) / SECTOR
      cipher[direction](sector, from.subarray(at, at + PIECE), into.subarray(at, at + PIECE))
    }
  }
  /** Something was written that may not be durable. */
  let isUnsure = false
  const flush = async (): Promise<void> => {
    isUnsure = false
    try {
      await file.flush()
    } catch (error) {
      isUnsure = true
      throw error
    }
  }
  const write = (offset: number, from: Uint8Array): Promise<void> => {
    isUnsure = true
    return inParts(from.length, async (done, parts) => {
      const plain = from.subarray(done, done + PART)
      const sealed = new Uint8Array(plain.length)
      await through('encrypt', offset + done, plain, sealed)
      await parts.add(() => file.write(start + offset + done, sealed))
      return plain.length
    })
  }
  return {
    limits: { requestAlignment: sectorSize },
    size,
    async read(offset, into) {
      const there = Math.min(into.length, Math.max(file.size - start - offset, 0))
      if (there > 0) await file.read(start + offset, into.subarray(0, there))
      into.fill(0, there)
      await through('decrypt', offset, into, into)
    },
    write,
    async truncate(bytes, options) {
      if (payload.size !== undefined)
        throw fail('ENOTSUP', 'The size of the disk is fixed by its LUKS2 header')
      const before = size()
      const after = alignUp(bytes, sectorSize)
      const { zero, ...how } = options
      await file.truncate(start + after, how)
      // What was never written decrypts to noise.
      if (zero) await zeroFrom(before, after, write)
    },
    flush,
    async close() {
      try {
        if (isUnsure) await flush()
      } finally {
        cipher.close()
      }
    },
    crash: () => cipher.close(),
  }
}

async function zeroFrom(
  start: number,
  end: number,
  write: (offset: number, from: Uint8Array) => Promise<void>,
): Promise<void> {
  const zeroes = new Uint8Array(Math.min(PART, Math.max(end - start, 0)))
  for (let at = start; at < end; at += zeroes.length) await write(at, zeroes.subarray(0, end - at))
}
