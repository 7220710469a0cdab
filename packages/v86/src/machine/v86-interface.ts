/**
 * The interface of disks for v86, as observed in its npm releases 0.5.446 to 0.5.462, whose declarations do
 * not describe it. v86 recognizes a disk by `get`, `set` and `load`; pass the object itself (`hda: disk`),
 * not wrapped in `{ buffer }`.
 */

/** Progress of loading an image, for v86, in bytes. */
export interface V86Progress {
  /** Bytes. */
  readonly loaded: number
  readonly total: number
  readonly lengthComputable: boolean
}

/** The disk object of v86, for `hda`, `hdb`, `cdrom`, `fda` and `fdb`. Offsets and lengths in bytes. */
export interface V86Buffer {
  /** Read when the machine is made. v86 counts sectors in 32 bits. */
  readonly byteLength: number
  /** Set by v86, which then calls {@link load} and waits without limit. */
  onload: ((event: object) => void) | undefined
  onprogress: ((event: V86Progress) => void) | undefined
  load(): void | Promise<void>
  /** `fn` may be called before `get` returns. There is no way to report an error. */
  get(
    start: number,
    length: number,
    fn: (data: Uint8Array) => void,
    options?: { readonly signal?: AbortSignal },
  ): void
  /** From 0.5.455 on: called for the first sector before the machine is made, for its partition table. */
  get_and_cache(start: number, length: number, fn: (data: Uint8Array) => void): void
  /** From 0.5.455 on: the range, if it is in memory; otherwise undefined. */
  get_from_cache(start: number, length: number): Uint8Array | undefined
  /** Under PIO the guest does not wait for `fn`, and `data` is a view of a buffer that is reused. */
  set(start: number, data: Uint8Array, fn: () => void): void
  /** Returns, synchronously, what a saved state can hold: primitives, arrays, typed arrays. */
  get_state(): unknown[]
  set_state(state: unknown[]): void
  get_buffer?(fn: (buffer?: ArrayBuffer) => void): void
  get_as_file?(name: string): File
}
