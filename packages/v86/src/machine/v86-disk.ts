/** A disk for v86: the interface that v86 calls, on top of emulator-disk.ts, without its traps. */
import { BlockError, type BlockNode, type Bytes } from '@vmblock/block-core'
import {
  bytesOf,
  type Check,
  isPlain,
  nodeTitle,
  requireCallback,
  requireCount,
  requireFlag,
  requireNode,
  requireOptions,
  requireText,
  SECTOR,
  wrongValue,
} from '@vmblock/block-core/driver'
import { type DiskOptions, type Durability, diskSettings } from '../disk/disk-options.ts'
import { type DiskMoment, decodeMoment, encodeMoment, requireSameDisk } from '../disk/disk-state.ts'
import { EmulatorDisk, requireSectors } from '../disk/emulator-disk.ts'
import type { V86Buffer, V86Progress } from './v86-interface.ts'

/** v86 counts sectors in 32 bits: disks from this size on, in bytes, would appear smaller than they are. */
const TOO_LARGE = 2 ** 32 * SECTOR
/** The largest disk that is returned as one buffer, in bytes. */
const LARGEST_BUFFER = 2 ** 30

/**
 * Checks the size of a disk, in bytes; `what` names the disk.
 *
 * @throws BlockError EINVAL for a size that is not whole sectors, EFBIG for a disk too large for v86
 */
export function checkDiskSize(bytes: number, what = 'the disk'): void {
  if (bytes >= TOO_LARGE)
    throw new BlockError('EFBIG', `v86 knows disks of less than 2 TiB, and ${what} has ${bytes} bytes`)
  requireSectors(bytes, what)
}

/** Options of a {@link V86Disk}. */
export interface V86DiskOptions extends DiskOptions {
  /** The disk's name in saved states, compared on restore. Default: driver and file name of the image. */
  readonly identity?: string
  /**
   * Whether to restore a state even if the disk was written to since it was saved. The guest's caches are
   * then older than the disk: only for guests that have not mounted it, or mounted it read-only. Default: no.
   */
  readonly allowOlderState?: boolean
}

/** Splits the options of a {@link V86Disk} from those of the disk below, and checks `more`. */
function splitOptions(options: V86DiskOptions, more: Readonly<Record<string, Check>>) {
  const given: unknown = options
  if (!isPlain(given)) throw wrongValue('options', 'a plain object', given)
  const { identity, allowOlderState, ...rest } = options
  requireOptions({ identity, allowOlderState }, 'options', OWN)
  const others = Object.entries(rest).filter(([key, value]) => {
    if (!Object.hasOwn(more, key)) return true
    if (value !== undefined) more[key]!(value, key)
    return false
  })
  return { identity, allowOlderState, settings: Object.fromEntries(others) as DiskOptions }
}

const OWN = { identity: requireText, allowOlderState: requireFlag }

/** Checks the options of a disk before anything is opened for it. @throws BlockError EINVAL that names one */
export const requireV86Options = (options: V86DiskOptions, more: Readonly<Record<string, Check>>): void =>
  void diskSettings(splitOptions(options, more).settings)

/** Reports failures to a drive; set by attachDisk. */
export interface V86DriveLink {
  /** A read failed; `fn` is its callback. */
  readFailed(fn: (data: Uint8Array) => void): void
  /** A write that the drive waits for failed. */
  writeFailed(): void
}

/** A request that v86 waits for. */
interface Pending {
  readonly signal?: AbortSignal | undefined
}

let sessions = 0

/** A disk that v86 takes as its drive, made by `v86Disk` or around an open node. Offsets and lengths are bytes. */
export class V86Disk extends EmulatorDisk implements V86Buffer {
  readonly byteLength: number
  /** v86's type declarations require a `url` of images. For an object like this one v86 never reads it. */
  readonly url = 'vmblock:'
  onload: ((event: object) => void) | undefined = undefined
  onprogress: ((event: V86Progress) => void) | undefined = undefined
  /** @internal Whether the guest was told that it has to flush. */
  guestFlushes = false
  #drive: V86DriveLink | undefined
  /** The durability to return to when the guest's flushes reach the disk again; undefined: unchanged. */
  #unheard: Durability | undefined
  readonly #identity: string
  readonly #allowOlderState: boolean
  readonly #session =
    `${Date.now().toString(36)}-${(sessions++).toString(36)}-${Math.random().toString(36).slice(2)}`
  #pending = new Set<Pending>()
  #answered: (() => void)[] = []
  /** The write that v86 waits for; a later request means that the guest has abandoned it. */
  #awaited: Pending | undefined

  /** @throws BlockError EINVAL for a size that is not whole sectors, EFBIG for a disk too large for v86 */
  constructor(node: BlockNode, options: V86DiskOptions = {}) {
    requireNode(node, 'node')
    const { settings, identity, allowOlderState = false } = splitOptions(options, {})
    checkDiskSize(node.size, nodeTitle(node))
    super(node, settings)
    this.byteLength = node.size
    this.#identity = identity ?? `${node.driver.name}: ${node.filename}`
    this.#allowOlderState = allowOlderState
  }

  // ---- what v86 calls ----

  /** Reads the first sector, where v86 looks for the geometry of the disk, and reports the disk as loaded. */
  async load(): Promise<void> {
    // A failure will recur when the guest reads; v86 has no way to take it here.
    await this.readAt(0, new Uint8Array(SECTOR)).catch(() => undefined)
    const { byteLength } = this
    this.onprogress?.({ loaded: byteLength, total: byteLength, lengthComputable: true })
    this.onload?.({})
  }

  get(
    start: number,
    length: number,
    fn: (data: Uint8Array) => void,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): void {
    requireRequest(start, length)
    requireCallback(fn, 'fn')
    this.#giveUpWrite()
    const into = new Uint8Array(length)
    if (falseOnError(() => this.tryRead(start, into))) {
      fn(into)
      return
    }
    const pending = this.#begin({ signal })
    // Two arguments: an exception of v86 in `fn` is not a failure of the disk.
    void this.readAt(start, into).then(
      () => {
        if (this.#end(pending) && !signal?.aborted) fn(into)
      },
      () => {
        if (this.#end(pending) && !signal?.aborted) this.#drive?.readFailed(fn)
      },
    )
  }

  get_and_cache(start: number, length: number, fn: (data: Uint8Array) => void): void {
    this.get(start, length, fn)
  }

  get_from_cache(start: number, length: number): Uint8Array | undefined {
    requireRequest(start, length)
    const into = new Uint8Array(length)
    return falseOnError(() => this.tryRead(start, into)) ? into : undefined
  }

  set(start: number, data: Bytes, fn: () => void): void {
    const bytes = bytesOf(data, 'data')
    requireRequest(start, bytes.length)
    requireCallback(fn, 'fn')
    this.#giveUpWrite()
    if (falseOnError(() => this.tryWrite(start, bytes))) {
      fn()
      return
    }
    const pending = this.#begin({})
    this.#awaited = pending
    void this.writeAt(start, bytes).then(
      () => {
        if (this.#end(pending)) fn()
      },
      () => {
        if (this.#end(pending)) this.#drive?.writeFailed()
      },
    )
  }

  /**
   * Returns the image's identity and number of changes, not its content. The emulator must be stopped and the
   * disk drained.
   *
   * @throws BlockError EBUSY while the guest waits for an answer, which the restored guest would never get
   */
  get_state(): unknown[] {
    if ([...this.#pending].some(({ signal }) => !signal?.aborted))
      throw new BlockError(
        'EBUSY',
        'the guest waits for the disk: stop the emulator and await drain() before saving its state',
      )
    return encodeMoment(this.#moment())
  }

  /** Restores a state. @throws BlockError EINVAL for another disk's, or from before the disk was changed */
  set_state(state: unknown[]): void {
    const then = decodeMoment(state)
    requireSameDisk(then, this.#moment(), this.#allowOlderState)
    // The restored guest does not wait for earlier requests.
    this.abandon()
    if (!then.clean && then.session !== this.#session)
      this.emit('warn', 'the state was saved before the disk was flushed: writes of that time may be missing')
    this.guestFlushes = then.guestFlushes
    if (!then.guestFlushes || this.#drive) return
    this.#distrust()
    this.emit(
      'warn',
      'the guest of this state relies on its flushes: write-through until the disk is attached',
    )
  }

  /** Reads the whole disk into memory, up to 1 GiB; otherwise, or if that fails, `fn` gets no buffer. */
  get_buffer(fn: (buffer?: ArrayBuffer) => void): void {
    requireCallback(fn, 'fn')
    void this.#wholeDisk().then(
      (buffer) => fn(buffer),
      () => fn(undefined),
    )
  }

  /**
   * Returns the disk as a file, if all of it is in memory, as with a floppy that was read once.
   *
   * @throws BlockError ENOTSUP if it is not: read the node instead
   */
  get_as_file(name: string): File {
    requireText(name, 'name')
    const content = this.size <= LARGEST_BUFFER ? this.get_from_cache(0, this.size) : undefined
    if (!content)
      throw new BlockError('ENOTSUP', `'${name}' is not in memory as a whole: read it from the node instead`)
    return new File([content as BlobPart], name)
  }

  // ---- what applications, and attachDisk, call ----

  override async drain(): Promise<void> {
    await super.drain()
    while (this.#pending.size > 0) {
      await new Promise<void>((resolve) => this.#answered.push(resolve))
      await super.drain()
    }
  }

  /** @internal For attachDisk: sets the link for the guest's flushes and for failures; undefined: none. */
  link(drive: V86DriveLink | undefined): void {
    this.#drive = drive
    if (!drive && this.guestFlushes) this.#distrust()
    if (!drive || this.#unheard === undefined) return
    this.durability = this.#unheard
    this.#unheard = undefined
  }

  /** @internal Drops pending answers: the drive was reset or restored, and waits for none. Writes stay. */
  abandon(): void {
    this.#awaited = undefined
    this.#pending = new Set()
    this.#tellAnswered()
  }

  // ---- inside ----

  #moment(): DiskMoment {
    return {
      size: this.size,
      identity: this.#identity,
      session: this.#session,
      generation: this.generation,
      clean: !this.isDirty,
      guestFlushes: this.guestFlushes,
    }
  }

  /** Switches to write-through: the guest relies on flushes, but they do not reach this disk. */
  #distrust(): void {
    this.#unheard ??= this.durability
    this.durability = 'write-through'
  }

  #begin(pending: Pending): Pending {
    this.#pending.add(pending)
    return pending
  }

  /** @returns whether v86 still waits for the answer */
  #end(pending: Pending): boolean {
    if (this.#awaited === pending) this.#awaited = undefined
    if (!this.#pending.delete(pending)) return false
    if (this.#pending.size === 0) this.#tellAnswered()
    return this.isOpen
  }

  #tellAnswered(): void {
    const waiting = this.#answered
    this.#answered = []
    for (const resolve of waiting) resolve()
  }

  /**
   * Drops the answer to the awaited write: a drive does one thing at a time, so one that makes another
   * request was reset, and must not get that answer.
   */
  #giveUpWrite(): void {
    if (!this.#awaited) return
    this.#pending.delete(this.#awaited)
    this.#awaited = undefined
    if (this.#pending.size === 0) this.#tellAnswered()
  }

  async #wholeDisk(): Promise<ArrayBuffer | undefined> {
    if (this.size > LARGEST_BUFFER) return undefined
    const bytes = new Uint8Array(this.size)
    for (let at = 0; at < bytes.length; at += 2 ** 20) await this.readAt(at, bytes.subarray(at, at + 2 ** 20))
    return bytes.buffer
  }
}

/** Refuses arguments that v86 never passes. Offsets outside the disk, which a guest can cause, may fail. */
function requireRequest(start: number, length: number): void {
  if (!Number.isInteger(start)) throw wrongValue('start', 'a whole number of bytes', start)
  requireCount(length, 'length')
}

/**
 * Calls `run`, with false for an exception: v86 calls from inside its machine, where an exception would end
 * it. The asynchronous call that follows rejects with the error.
 */
function falseOnError(run: () => boolean): boolean {
  try {
    return run()
  } catch {
    return false
  }
}
