/**
 * The kinds of images that qemu-img 7.2 can create, and what can be done with each.
 * @module
 */

/** One kind of image. */
export interface Kind {
  readonly name: string
  /** Creation options. */
  readonly create: Readonly<Record<string, string>>
  /** Bytes of a cluster. */
  readonly cluster: number
  /** Bytes of the disk. Default: 24 clusters and a half. */
  readonly size?: number
  /** It has a backing file. */
  readonly isOverlay?: boolean
  /** How it is opened for requests, if it has a key. */
  readonly isEncrypted?: boolean
  readonly without?: readonly Feature[]
}

/** What an image may have or not. */
export type Feature = 'compressed' | 'snapshots' | 'bitmaps' | 'resize' | 'lazy' | 'widths'

const KIB = 1024
const plain = (name: string, create: Record<string, string> = {}, more: Partial<Kind> = {}): Kind => ({
  name,
  create,
  cluster: 64 * KIB,
  ...more,
})

/** Version 2 has neither bitmaps nor lazy refcounts. */
const OLD: readonly Feature[] = ['bitmaps', 'lazy']

/** Every kind. */
export const KINDS: readonly Kind[] = [
  plain('default'),
  plain('version 2', { compat: '0.10' }, { without: OLD }),
  plain('512-byte clusters', { cluster_size: '512' }, { cluster: 512, size: 96 * KIB }),
  plain('4k clusters', { cluster_size: '4k' }, { cluster: 4 * KIB }),
  // To change the width of refcounts, QEMU looks at each that the refcount table has room for: hours, with clusters of 2 MiB.
  plain(
    '2M clusters',
    { cluster_size: '2M' },
    { cluster: 2048 * KIB, size: 9 * 2 ** 20, without: ['widths'] },
  ),
  plain('lazy refcounts', { lazy_refcounts: 'on', cluster_size: '4k' }, { cluster: 4 * KIB }),
  plain('1-bit refcounts', { refcount_bits: '1', cluster_size: '4k' }, { cluster: 4 * KIB }),
  plain('2-bit refcounts', { refcount_bits: '2', cluster_size: '4k' }, { cluster: 4 * KIB }),
  plain('64-bit refcounts', { refcount_bits: '64', cluster_size: '4k' }, { cluster: 4 * KIB }),
  plain('extended L2', { extended_l2: 'on', cluster_size: '16k' }, { cluster: 16 * KIB }),
  plain('extended L2, 64k', { extended_l2: 'on' }),
  plain('zstd', { compression_type: 'zstd' }),
  plain(
    'zstd, extended L2',
    { compression_type: 'zstd', extended_l2: 'on', cluster_size: '32k' },
    { cluster: 32 * KIB },
  ),
  plain('preallocated metadata', { preallocation: 'metadata' }),
  plain('preallocated in full', { preallocation: 'full', cluster_size: '4k' }, { cluster: 4 * KIB }),
  plain('data file', { data_file: 'disk.data' }, { without: ['compressed', 'snapshots'] }),
  plain(
    'raw data file',
    { data_file: 'disk.data', data_file_raw: 'on', cluster_size: '4k' },
    { cluster: 4 * KIB, without: ['compressed', 'snapshots'] },
  ),
  plain('overlay', { cluster_size: '4k' }, { cluster: 4 * KIB, isOverlay: true }),
  plain('overlay, lazy refcounts', { lazy_refcounts: 'on' }, { isOverlay: true }),
  plain(
    'overlay, extended L2',
    { extended_l2: 'on', cluster_size: '16k' },
    { cluster: 16 * KIB, isOverlay: true },
  ),
  plain(
    'overlay, version 2',
    { compat: '0.10', cluster_size: '4k' },
    { cluster: 4 * KIB, isOverlay: true, without: OLD },
  ),
  plain(
    'encrypted by AES',
    { 'encrypt.format': 'aes', 'encrypt.key-secret': 'key', cluster_size: '4k' },
    { cluster: 4 * KIB, isEncrypted: true, without: ['compressed'] },
  ),
  plain(
    'encrypted by LUKS',
    { 'encrypt.format': 'luks', 'encrypt.key-secret': 'key', 'encrypt.iter-time': '10' },
    { isEncrypted: true, without: ['compressed'] },
  ),
]

const luks = (name: string, options: Record<string, string>): Kind =>
  plain(
    `LUKS: ${name}`,
    {
      'encrypt.format': 'luks',
      'encrypt.key-secret': 'key',
      'encrypt.iter-time': '10',
      cluster_size: '4k',
      ...options,
    },
    { cluster: 4 * KIB, isEncrypted: true, without: ['compressed'] },
  )

/**
 * The values of options that {@link KINDS} leaves out: for long runs alone. Not here: encrypted images that are preallocated,
 * whose unwritten clusters read as noise if QEMU made them, and as zeroes if we did; AES-192 with CBC, at which qemu-img aborts.
 */
export const MORE_KINDS: readonly Kind[] = [
  plain('1k clusters', { cluster_size: '1k' }, { cluster: KIB, size: 96 * KIB }),
  plain('128k clusters', { cluster_size: '128k' }, { cluster: 128 * KIB }),
  plain(
    '1M clusters',
    { cluster_size: '1M' },
    { cluster: 1024 * KIB, size: 9 * 2 ** 20, without: ['widths'] },
  ),
  ...['4', '8', '32'].map((bits) =>
    plain(`${bits}-bit refcounts`, { refcount_bits: bits, cluster_size: '4k' }, { cluster: 4 * KIB }),
  ),
  plain('preallocated by the file system', { preallocation: 'falloc' }),
  plain('preallocated, version 2', { preallocation: 'metadata', compat: '0.10' }, { without: OLD }),
  plain('preallocated, extended L2', {
    preallocation: 'metadata',
    extended_l2: 'on',
  }),
  plain(
    'data file, extended L2, lazy',
    { data_file: 'disk.data', extended_l2: 'on', cluster_size: '16k', lazy_refcounts: 'on' },
    { cluster: 16 * KIB, without: ['compressed', 'snapshots'] },
  ),
  plain(
    'encrypted by AES, version 2',
    { encryption: 'on', 'encrypt.key-secret': 'key', compat: '0.10' },
    {
      isEncrypted: true,
      without: ['compressed', ...OLD],
    },
  ),
  luks('AES-128, CBC, ESSIV', {
    'encrypt.cipher-alg': 'aes-128',
    'encrypt.cipher-mode': 'cbc',
    'encrypt.ivgen-alg': 'essiv',
    'encrypt.ivgen-hash-alg': 'sha256',
  }),
  luks('SHA-512', { 'encrypt.hash-alg': 'sha512' }),
]
