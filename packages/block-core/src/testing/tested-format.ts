/**
 * How the package of a format describes itself to the tests of all formats. Its `/testing` entry exports one
 * {@link TestedFormat} as `format`; suites that run on every format (`tests/`) make their matrices of these, so that
 * a new format is tested by all of them without being named in any.
 */
import type { AnyDriver } from '../index.ts'

/** Options of `qemu-img create -o`, by QEMU's names; `$IMG` in a value stands for the path of the image. */
export type ImageOptions = Readonly<Record<string, string>>

/**
 * A suite that runs on the varieties that ask for it:
 *
 * - `iotests`: QEMU's cases, on our programs (tests/iotests)
 * - `turns`: the image passes back and forth between this library and QEMU's programs (tests/interop)
 * - `kills`: processes are killed while they write (tests/interop)
 * - `faults`: disks become full, files are cut off or replaced (tests/faults)
 * - `mishaps`: requests to the file fail, are slow, or meet a crash, each in turn (tests/hostile)
 */
export type FormatSuite = 'iotests' | 'turns' | 'kills' | 'faults' | 'mishaps'

/** A kind of image, set apart by the options it is created with. */
export interface TestedVariety {
  readonly create: ImageOptions
  readonly suites: readonly FormatSuite[]
  /** Further creation options, for suites with many images: small clusters make a small image with many tables. */
  readonly small?: ImageOptions
  /** Bytes of the disk in `turns`. Default: some dozen clusters, 1 to 4 MiB. */
  readonly size?: number
  /** Ways to allocate what a disk grows by, to be tried in `turns`. Default: `off`. */
  readonly preallocations?: readonly ('off' | 'metadata' | 'falloc' | 'full')[]
  /** Which images may need a repair after a crash, and say so. Default: none. */
  readonly dirty?: 'all' | 'without backing file'
}

/** A format, for tests. What can be told from its option tables (takes a backing file?) is not said again. */
export interface TestedFormat {
  readonly driver: AnyDriver
  /** Whether QEMU's programs know the format, by the driver's name. `turns` and `kills` need them. */
  readonly inQemu: boolean
  /** Bytes of a cluster where the options do not say it; without clusters: what offsets are often multiples of. */
  readonly clusterSize: number
  readonly resizes: 'not at all' | 'growing' | 'both ways'
  /** False: QEMU changes no sizes, so there are no resizes where an image passes back and forth. */
  readonly resizesInQemu?: false
  /** What a guest reads after a discard: zeroes from whole clusters, the data as before, or what the host decides. */
  readonly discards: 'clusters' | 'nothing' | 'perhaps'
  /** Whether images can be checked, and whether a repair finds leaks. */
  readonly checks: 'no' | 'leaks stay' | 'leaks go'
  readonly varieties: readonly TestedVariety[]
}

/** Creation options with the path that `$IMG` stands for. */
export const optionsFor = (create: ImageOptions, path: string): Record<string, string> =>
  Object.fromEntries(Object.entries(create).map(([key, value]) => [key, value.replaceAll('$IMG', path)]))

/** The options as tests name them: `cluster_size=4k data_file`; nothing for the default. */
export const optionsText = (create: ImageOptions): string =>
  Object.entries(create)
    .map(([key, value]) => (value.includes('$IMG') ? key : `${key}=${value}`))
    .join(' ')
