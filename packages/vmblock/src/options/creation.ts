/**
 * How images are made, by format: the creation options of the drivers, in TypeScript's spelling. The drivers check the
 * values; a test holds that no option of theirs is missing here.
 */

/** Options of every format. */
interface CommonCreation {
  /** Size of the disk, in bytes or as `'2G'`. Default: that of the backing file, or of the disk that is converted. */
  readonly size?: number | string | undefined
}

/** How room for the content is taken when an image is made. */
export type CreatePreallocation = 'off' | 'metadata' | 'falloc' | 'full'

/** How an image is encrypted. The tables, and so which parts of the disk were ever written, stay readable. */
export interface DiskEncryption {
  /** What opens it: text, or bytes in UTF-8, without NUL. */
  readonly passphrase: string | Uint8Array
  /** `luks`, or the weak method of old images. Default: luks. */
  readonly format?: 'luks' | 'aes' | undefined
  /** LUKS: the cipher. Default: `aes-256`. */
  readonly cipherAlg?: 'aes-128' | 'aes-192' | 'aes-256' | undefined
  /** LUKS: its mode. Default: `xts`. */
  readonly cipherMode?: 'xts' | 'cbc' | 'ctr' | 'ecb' | undefined
  /** LUKS: how sector numbers become initial vectors. Default: `plain64`. */
  readonly ivgenAlg?: 'plain' | 'plain64' | 'essiv' | undefined
  /** LUKS: the hash of `essiv`. Default: `sha256`. */
  readonly ivgenHashAlg?: string | undefined
  /** LUKS: the hash of the key slots. Default: `sha256`. */
  readonly hashAlg?: string | undefined
  /** LUKS: milliseconds that opening shall take on this machine. Default: 2000. */
  readonly iterTime?: number | undefined
}

/** Creation options of qcow2. */
export interface Qcow2Creation extends CommonCreation {
  /** Unit of allocation: a power of two from 512 bytes to 2 MiB, in bytes or as `'64k'`. Default: 64 KiB. */
  readonly clusterSize?: number | string | undefined
  /** Allocate in units of a 32nd of a cluster: for large clusters. Default: no. */
  readonly extendedL2?: boolean | undefined
  /** Room taken at once: none (`off`), the tables (`metadata`), all of it without or with writing it. Default: off. */
  readonly preallocation?: CreatePreallocation | undefined
  /** Method of compressed clusters. Default: zlib. */
  readonly compressionType?: 'zlib' | 'zstd' | undefined
  /** `v2` (QEMU before 1.1) or `v3`. Default: v3. */
  readonly compat?: 'v2' | 'v3' | '0.10' | '1.1' | undefined
  /**
   * Delay the counting of clusters until the image is closed: faster writes, and a repair at the next opening after a
   * crash. Default: no.
   */
  readonly lazyRefcounts?: boolean | undefined
  /** The data file, if there is one, shall be a raw image by itself. Default: no. */
  readonly dataFileRaw?: boolean | undefined
  /** The data file is there already, and its content becomes that of the disk. Needs `dataFileRaw`, or preallocated metadata. Default: no. */
  readonly keepDataFile?: boolean | undefined
  /** Width of reference counts: a power of two from 1 to 64. Default: 16. */
  readonly refcountBits?: number | undefined
  /** Encrypt the content of the disk. Default: no. */
  readonly encryption?: DiskEncryption | undefined
}

/** Creation options of QED. */
export interface QedCreation extends CommonCreation {
  /** Unit of allocation: a power of two from 4 KiB to 64 MiB, in bytes or as `'64k'`. Default: 64 KiB. */
  readonly clusterSize?: number | string | undefined
  /** Clusters in a table: a power of two from 1 to 16. Default: 4. */
  readonly tableSize?: number | undefined
}

/** Creation options of raw images. */
export interface RawCreation extends CommonCreation {
  /** Room taken at once. Default: off. */
  readonly preallocation?: 'off' | 'falloc' | 'full' | undefined
}

/** Creation options of VHDX (Hyper-V, WSL). */
export interface VhdxCreation extends CommonCreation {
  /** Bytes of the log, from 1 MiB. Default: 1 MiB. */
  readonly logSize?: number | string | undefined
  /** Unit of allocation: a power of two from 1 MiB to 256 MiB. Default: by the size, 8 MiB to 64 MiB. */
  readonly blockSize?: number | string | undefined
  /** Whether the file grows with its content. Default: dynamic. */
  readonly subformat?: 'dynamic' | 'fixed' | undefined
  /** Mark blocks as zeroes that were never written. Default: yes. */
  readonly blockStateZero?: boolean | undefined
}

/** Creation options of VDI (VirtualBox). */
export interface VdiCreation extends CommonCreation {
  /** The whole file at once. Default: no. */
  readonly static?: boolean | undefined
}

/** Creation options of the format of Parallels. */
export interface ParallelsCreation extends CommonCreation {
  /** Unit of allocation, in bytes or as `'1M'`. Default: 1 MiB. */
  readonly clusterSize?: number | string | undefined
}

/** Creation options by format. */
export interface CreationByFormat {
  readonly qcow2: Qcow2Creation
  readonly qed: QedCreation
  readonly raw: RawCreation
  readonly vhdx: VhdxCreation
  readonly vdi: VdiCreation
  readonly parallels: ParallelsCreation
}

/** A format of which images can be made. */
export type CreateFormat = keyof CreationByFormat

/** The options of one format; without `format`, which the name of the file then tells, those of any. */
export type CreationOptions =
  | { [F in CreateFormat]: { readonly format: F } & CreationByFormat[F] }[CreateFormat]
  | ({ readonly format?: undefined } & Qcow2Creation & QedCreation & Omit<RawCreation, 'preallocation'>)
  | ({ readonly format?: undefined } & (VhdxCreation | VdiCreation))
