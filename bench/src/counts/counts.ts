/**
 * The effect of a stream of guest writes on the file below: the number of data writes, metadata writes and
 * flushes.
 */

/** One call on the image file. Offsets and lengths in bytes. */
export interface Call {
  /** `other` calls change the file's space or length. */
  readonly kind: 'write' | 'flush' | 'other'
  readonly offset: number
  readonly bytes: number
  /** Whether the data begins with the byte that the guest writes, which no metadata begins with. */
  readonly isPattern: boolean
}

/** Sums of calls. */
export interface Counts {
  /** Guest writes that were made. */
  readonly requests: number
  readonly dataWrites: number
  readonly metadataWrites: number
  readonly dataBytes: number
  readonly metadataBytes: number
  readonly flushes: number
  readonly others: number
}

/** The byte that guests write: `Z`. */
export const PATTERN = 0x5a
/** Bytes of a guest's write, and of a cluster; each write is to a fresh one. */
export const WRITE_BYTES = 4096
/** See {@link WRITE_BYTES}. */
export const CLUSTER = 65536

/** Counts data and metadata. Bytes written around the guest's data in its cluster are data. */
export function sumUp(calls: readonly Call[], requests: number): Counts {
  const clusterOf = ({ offset }: Call): number => Math.floor(offset / CLUSTER)
  const writes = calls.filter(({ kind }) => kind === 'write')
  const dataClusters = new Set(writes.filter(({ isPattern }) => isPattern).map(clusterOf))
  const isData = (write: Call): boolean => dataClusters.has(clusterOf(write))
  const data = writes.filter(isData)
  const metadata = writes.filter((write) => !isData(write))
  const bytesIn = (list: readonly Call[]): number => list.reduce((total, { bytes }) => total + bytes, 0)
  const countOf = (wanted: Call['kind']): number => calls.filter(({ kind }) => kind === wanted).length
  return {
    requests,
    dataWrites: data.length,
    metadataWrites: metadata.length,
    dataBytes: bytesIn(data),
    metadataBytes: bytesIn(metadata),
    flushes: countOf('flush'),
    others: countOf('other'),
  }
}
