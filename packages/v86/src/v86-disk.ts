/** A disk for v86: the interface that v86 calls, over the disk of emulator-disk.ts, without the traps of that interface. */
import {
  BlockError,
  type BlockNode,
  type Bytes,
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
} from '@vmblock/block-core'
import { type DiskOptions, type Durability, diskSettings } from './disk-options.ts'
import { type DiskMoment, decodeMoment, encodeMoment, requireSameDisk } from './disk-state.ts'
import { EmulatorDisk, requireSectors } from './emulator-disk.ts'
import type { V86Buffer, V86Progress } from './v86-interface.ts'

/** v86 counts sectors in 32 bits: from here on a disk would seem to be smaller than it is. */
const TOO_LARGE = 2 ** 32 * SECTOR
/** Bytes: a disk that is larger is not handed out in one piece. */
const LARGEST_BUFFER = 2 ** 30

/**
 * Judges the size of a disk, in bytes; `what` names the disk.
 *
 * @throws BlockError EINVAL for a size that is not made of sectors, EFBIG for a disk that v86 cannot count
 */
export function checkDiskSize(bytes: number, what = 'the disk'): void {
  if (bytes >= TOO_LARGE)
    throw new BlockError('EFBIG', `v86 knows disks of less than 2 TiB, and ${what} has ${bytes} bytes`)
  requireSectors(bytes, what)
}

/** How a {@link V86Disk} behaves. */
export interface V86DiskOptions extends DiskOptions {
  /** What saved states call the disk; restoring compares it. Default: driver and file name of the image. */
  readonly identity?: string
  /**
   * Restore a state also if the disk was written to since it was saved. The guest's caches are then older than the disk: only for
   * guests that have not mounted it, or mounted it read-only. Default: no.
   */
  readonly allowOlderState?: boolean
}

/** What is known here, and what the disk below knows. */
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

/** How a drive is told of failures; set by attachDisk. */
export interface V86DriveLink {
  /** A read failed; `fn` is what it was asked with. */
  readFailed(fn: (data: Uint8Array) => void): void
  /** A write failed that the drive waits for. */
  writeFailed(): void
}

/** A request that v86 waits for. */
interface Pending {
  readonly signal?: AbortSignal | undefined
}

let sessions = 0

/** See the head of this file. Made by `v86Disk`, or around an open node. */
export class V86Disk extends EmulatorDisk implements V86Buffer {
  readonly byteLength: number
  /** v86's declarations know images by their `url` alone. It never looks at that of an object like this one. */
  readonly url = 'vmblock:'
  onload: ((event: object) => void) | undefined = undefined
  onprogress: ((event: V86Progress) => void) | undefined = undefined
  /** @internal The guest was told that it has to flush. */
  guestFlushes = false
  #drive: V86DriveLink | undefined
  /** What the durability was before the guest's flushes could not be heard. */
  #unheard: Durability | undefined
  readonly #identity: string
  readonly #allowOlderState: boolean
  readonly #session =
    `${Date.now().toString(36)}-${(sessions++).toString(36)}-${Math.random().toString(36).slice(2)}`
  #pending = new Set<Pending>()
  #answered: (() => void)[] = []
  /** The write that v86 waits for; a later request means that the guest has given it up. */
  #awaited: Pending | undefined

  /** @throws BlockError EINVAL for a size that is not made of sectors, EFBIG for a disk that v86 cannot count */
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

  /** Brings the first sector into memory, where v86 looks for the geometry of the disk, and says that the disk is there. */
  async load(): Promise<void> {
    // What fails here fails again when the guest reads; v86 could not be told.
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
    if (withoutThrowing(() => this.tryRead(start, into))) {
      fn(into)
      return
    }
    const pending = this.#begin({ signal })
    // Two arguments: what v86 itself throws in `fn` is no failure of the disk.
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
    return withoutThrowing(() => this.tryRead(start, into)) ? into : undefined
  }

  set(start: number, data: Bytes, fn: () => void): void {
    const bytes = bytesOf(data, 'data')
    requireRequest(start, bytes.length)
    requireCallback(fn, 'fn')
    this.#giveUpWrite()
    if (withoutThrowing(() => this.tryWrite(start, bytes))) {
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
   * Which image this is, and how far it was written: not its content. The emulator has to be stopped and the disk drained.
   *
   * @throws BlockError EBUSY while the guest waits for an answer, which the restored guest would wait for in vain
   */
  get_state(): unknown[] {
    if ([...this.#pending].some(({ signal }) => !signal?.aborted))
      throw new BlockError(
        'EBUSY',
        'the guest waits for the disk: stop the emulator and await drain() before saving its state',
      )
    return encodeMoment(this.#moment())
  }

  /** @throws BlockError EINVAL for a state of another disk, or one of before the disk was changed */
  set_state(state: unknown[]): void {
    const then = decodeMoment(state)
    requireSameDisk(then, this.#moment(), this.#allowOlderState)
    // Nobody waits any more for what was asked before.
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

  /** Reads the whole disk into memory, if it has at most 1 GiB; else, and if that fails, there is no buffer. */
  get_buffer(fn: (buffer?: ArrayBuffer) => void): void {
    requireCallback(fn, 'fn')
    void this.#wholeDisk().then(
      (buffer) => fn(buffer),
      () => fn(undefined),
    )
  }

  /**
   * The disk as a file, if all of it is in memory, as a floppy is that was read once.
   *
   * @throws BlockError ENOTSUP where it is not: read the node instead
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

  /** @internal Of attachDisk: who hears the guest's flushes, and tells it of failures; undefined: nobody. */
  link(drive: V86DriveLink | undefined): void {
    this.#drive = drive
    if (!drive && this.guestFlushes) this.#distrust()
    if (!drive || this.#unheard === undefined) return
    this.durability = this.#unheard
    this.#unheard = undefined
  }

  /** @internal The drive was reset, or restored: it waits for nothing any more. What was written stays on its way. */
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

  /** The guest believes in a write cache, and its flushes do not come here. */
  #distrust(): void {
    this.#unheard ??= this.durability
    this.durability = 'write-through'
  }

  #begin(pending: Pending): Pending {
    this.#pending.add(pending)
    return pending
  }

  /** @returns whether anybody waits for the answer */
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

  /** A drive does one thing at a time: who asks again has been reset, and must not hear of what came before. */
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

/** What v86 never asks for; a place that is not on the disk is a failure of the request, which a guest may well cause. */
function requireRequest(start: number, length: number): void {
  if (!Number.isInteger(start)) throw wrongValue('start', 'a whole number of bytes', start)
  requireCount(length, 'length')
}

/** v86 calls from the middle of its machine, where an exception is the end of it: what throws is asked again, and rejects. */
function withoutThrowing(run: () => boolean): boolean {
  try {
    return run()
  } catch {
    return false
  }
}
