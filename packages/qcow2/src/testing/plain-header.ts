/** A header for tests that read and write headers without an image. */
import { noExtensions } from '../format/extensions.ts'
import { describeUnknown } from '../format/feature-names.ts'
import { type Header, parseHeader } from '../format/header.ts'
import { parseRareExtension } from '../format/rare-extensions.ts'

/** Bytes of a cluster of {@link plainHeader}. */
export const CLUSTER = 65536

/** A header as QEMU writes it for an empty image of 128 MiB. */
export const plainHeader = (): Header => ({
  version: 3,
  backingFile: undefined,
  clusterBits: 16,
  size: 128 * 2 ** 20,
  cryptMethod: 0,
  l1Size: 1,
  l1TableOffset: 3 * CLUSTER,
  refcountTableOffset: CLUSTER,
  refcountTableClusters: 1,
  nbSnapshots: 0,
  snapshotsOffset: 0,
  incompatible: 0n,
  compatible: 0n,
  autoclear: 0n,
  refcountOrder: 4,
  headerLength: 112,
  compressionType: 'zlib',
  unknownFields: new Uint8Array(0),
  extensions: noExtensions(),
})

/** The header in bytes, as an open with all the code at hand reads it. */
export const headerIn = (bytes: Uint8Array, checkMode = false): Promise<Header> =>
  parseHeader(bytes, checkMode, async () => ({ describeUnknown, parseRareExtension }))
