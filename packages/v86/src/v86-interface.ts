/**
 * What v86 wants of a disk: measured of its npm releases 0.5.446 to 0.5.462, whose own declarations do not describe it. Its disks
 * are told apart by having `get`, `set` and `load`; the object itself is given (`hda: disk`), not wrapped in `{ buffer }`.
 */

/** How v86 is told that an image is being loaded. */
export interface V86Progress {
  /** Bytes. */
  readonly loaded: number
  readonly total: number
  readonly lengthComputable: boolean
}

/** The disk object of v86, for `hda`, `hdb`, `cdrom`, `fda` and `fdb`. Offsets and lengths in bytes. */
export interface V86Buffer {
  /** Read when the machine is made. Numbers of sectors have 32 bits. */
  readonly byteLength: number
  /** Set by v86, which then calls {@link load} and waits for ever. */
  onload: ((event: object) => void) | undefined
  onprogress: ((event: V86Progress) => void) | undefined
  load(): void | Promise<void>
  /** `fn` may be called before `get` returns. There is no way to tell of an error. */
  get(
    start: number,
    length: number,
    fn: (data: Uint8Array) => void,
    options?: { readonly signal?: AbortSignal },
  ): void
  /** From 0.5.455 on: the first sector is asked for before the machine is made, for the partition table in it. */
  get_and_cache(start: number, length: number, fn: (data: Uint8Array) => void): void
  /** From 0.5.455 on: what is in memory; undefined: not there. */
  get_from_cache(start: number, length: number): Uint8Array | undefined
  /** Under PIO the guest does not wait for `fn`, and `data` is a view of a buffer that is used again. */
  set(start: number, data: Uint8Array, fn: () => void): void
  /** What a saved state holds: primitives, arrays, typed arrays, at once. */
  get_state(): unknown[]
  set_state(state: unknown[]): void
  get_buffer?(fn: (buffer?: ArrayBuffer) => void): void
  get_as_file?(name: string): File
}
