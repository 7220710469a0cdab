/**
 * Features that v86's disk interface lacks: flushes of the guest, failures, TRIM, a write cache. They are
 * added to v86's drive from outside, by wrapping the methods of its prototype (its instances are sealed); the
 * code of v86 is not changed.
 */
import { BlockError } from '@vmblock/block-core'
import { requireFlag, requireOptions, shared } from '@vmblock/block-core/driver'
import { requireDisk } from '../disk/check-disk.ts'
import { ATA, describeCache, ERROR, FEATURE, STATUS, TRIM, type TrimRange, trimRanges } from './ata.ts'
import type { V86Disk, V86DriveLink } from './v86-disk.ts'
import { rehearse, type V86Channel, type V86Drive, type V86DriveMethods } from './v86-drive.ts'

/** Options of {@link attachDisk}. */
export interface AttachOptions {
  /**
   * Whether to pause the emulator while the disk holds requests (no room), as QEMU does, and run it again
   * after `resume()`. Default: yes.
   */
  readonly pause?: boolean
  /** Whether to announce TRIM to the guest. Default: if the node passes discards on (`discard: 'unmap'`). */
  readonly trim?: boolean
}

/** A disk attached to its drive. */
export interface DriveAttachment {
  /**
   * Detaches the disk: the drive is again as v86 made it. If the guest was told of a write cache, it goes on
   * to rely on its flushes; so from then on every write is durable before it ends (`write-through`).
   */
  detach(): void
}

const DONE = STATUS.ready | STATUS.seekComplete
/** SCSI's sense for a medium that cannot be read (SPC-3: MEDIUM ERROR, unrecovered read error). */
const MEDIUM_ERROR = 3
const UNRECOVERED_READ = 0x11

/**
 * Gives the guest a drive with a write cache that it can flush. From then on its `fsync` waits for the disk's
 * flush, and fails if that fails; failed reads are errors in the guest; TRIM reaches the image; a guest that
 * writes by PIO waits for room.
 *
 * Attach before the guest identifies its drives: with `autostart: false`, on `emulator-loaded`. A restored
 * guest knows the drive as it was when the state was saved.
 *
 * @param emulator a `V86` of the npm releases 0.5.446 to 0.5.462, or another release whose drives behave the
 * same
 * @throws BlockError EINVAL if the disk is not in a drive of this emulator; ENOTSUP for drives that behave
 * differently
 */
export function attachDisk(emulator: unknown, disk: V86Disk, options: AttachOptions = {}): DriveAttachment {
  requireDisk(disk, 'disk')
  requireOptions(options, 'options', { pause: requireFlag, trim: requireFlag })
  const drive = drivesOf(emulator).find(({ buffer }) => buffer === disk)
  if (!drive)
    throw new BlockError(
      'EINVAL',
      'the disk is in no drive of this emulator: give it as hda, hdb or cdrom, and attach it once the emulator is loaded',
    )
  teach(Object.getPrototypeOf(drive) as V86DriveMethods)
  const before = links.get(drive)
  if (before?.disk === disk) throw new BlockError('EBUSY', 'the disk is attached already')
  before?.detach()
  const trim = options.trim ?? (disk.node.can('discard') && disk.node.config.unmap && !disk.readOnly)
  const link = new Link(drive, disk, trim)
  links.set(drive, link)
  if (options.pause ?? true) link.onDetach = pauseWhileHeld(emulator, disk)
  return { detach: () => link.detach() }
}

/** Where v86 keeps its drives once it is loaded. */
interface LoadedV86 {
  readonly v86?: {
    readonly cpu?: {
      readonly devices?: { readonly ide?: { readonly primary?: V86Channel; readonly secondary?: V86Channel } }
    }
  }
}

/** Finds the drives of an emulator. @throws BlockError ENOTSUP if they are not where v86 keeps them */
function drivesOf(emulator: unknown): V86Drive[] {
  const ide = (emulator as LoadedV86 | undefined)?.v86?.cpu?.devices?.ide
  if (!ide)
    throw new BlockError('ENOTSUP', 'the emulator is not loaded yet, or is no V86 that attachDisk knows')
  return [ide.primary, ide.secondary]
    .flatMap((channel) => [channel?.master, channel?.slave])
    .filter((drive) => drive !== undefined)
}

/** @returns a function that ends this */
function pauseWhileHeld(emulator: unknown, disk: V86Disk): () => void {
  const machine = emulator as Record<'run' | 'stop' | 'is_running', () => unknown>
  if (!machine.run || !machine.stop || !machine.is_running) return () => undefined
  let paused = false
  const pause = (): void => {
    if (!machine.is_running()) return
    paused = true
    void machine.stop()
  }
  const goOn = (): void => {
    if (paused) void machine.run()
    paused = false
  }
  const endPausing = disk.on('stop', pause)
  const endGoingOn = disk.on('resume', goOn)
  return () => {
    endPausing()
    endGoingOn()
    goOn()
  }
}

// Shared by all copies of this package: with a drive wrapped twice, everything would happen twice.
const links = shared('v86.links', () => new WeakMap<object, Link>())
const taught = shared('v86.taught', () => new WeakSet<object>())

/** Wraps the methods of the drives, once for each copy of v86; drives without a link behave as before. */
function teach(methods: V86DriveMethods): void {
  if (taught.has(methods)) return
  rehearse(methods)
  const { ata_command, create_identify_packet, do_ata_write_sectors_dma, do_write, device_reset } = methods
  Object.assign(methods, {
    ata_command(this: V86Drive, command: number): void {
      if (!links.get(this)?.command(command)) ata_command.call(this, command)
    },
    create_identify_packet(this: V86Drive): void {
      create_identify_packet.call(this)
      links.get(this)?.identify()
    },
    do_ata_write_sectors_dma(this: V86Drive): void {
      const transfer = (): void => do_ata_write_sectors_dma.call(this)
      if (!links.get(this)?.trim(transfer)) transfer()
    },
    do_write(this: V86Drive): void {
      if (!links.get(this)?.writeByPio()) do_write.call(this)
    },
    device_reset(this: V86Drive): void {
      links.get(this)?.reset()
      device_reset.call(this)
    },
  } satisfies Partial<V86DriveMethods>)
  taught.add(methods)
}

/** One wrapped drive and its disk. */
class Link implements V86DriveLink {
  readonly disk: V86Disk
  onDetach: (() => void) | undefined
  readonly #drive: V86Drive
  readonly #canTrim: boolean
  /** Whether the write cache is on; the guest may turn it off. */
  #writeCache: boolean
  /** Whether the next transfer brings the ranges of a TRIM. */
  #expectsRanges = false
  /** Counts resets: a command begun before a reset must not complete after it. */
  #life = 0

  constructor(drive: V86Drive, disk: V86Disk, canTrim: boolean) {
    this.#drive = drive
    this.disk = disk
    this.#canTrim = canTrim
    disk.link(this)
    this.#writeCache = disk.durability === 'write-back'
  }

  detach(): void {
    if (links.get(this.#drive) !== this) return
    links.delete(this.#drive)
    this.disk.link(undefined)
    this.onDetach?.()
  }

  /** @returns whether the command was handled here */
  command(command: number): boolean {
    const { is_atapi, features_reg } = this.#drive
    this.#expectsRanges = false
    // The upper byte of the features register holds the value written before.
    const feature = features_reg & 0xff
    if (is_atapi) return false
    switch (command) {
      case ATA.flushCache:
      case ATA.flushCacheExt:
      case ATA.standbyImmediate:
        this.#run(command, () => this.disk.guestFlush())
        return true
      case ATA.setFeatures:
        return this.#setFeature(feature)
      case ATA.dataSetManagement:
        if (!this.#canTrim || (feature & TRIM) === 0) return false
        this.#expectRanges()
        return true
      default:
        return false
    }
  }

  #setFeature(feature: number): boolean {
    if (feature === FEATURE.enableWriteCache) {
      this.#writeCache = true
      this.disk.durability = 'write-back'
    }
    if (feature !== FEATURE.disableWriteCache) return false
    this.#writeCache = false
    this.disk.durability = 'write-through'
    // Earlier writes must not be less durable than later ones.
    this.#run(ATA.setFeatures, () => this.disk.guestFlush())
    return true
  }

  identify(): void {
    const { data, is_atapi } = this.#drive
    if (is_atapi) return
    describeCache(data.subarray(0, 512), this.#writeCache, this.#canTrim)
    this.disk.guestFlushes = this.#writeCache
  }

  /** Prepares the transfer of the ranges: for v86's bus master it is a write like any other. */
  #expectRanges(): void {
    const drive = this.#drive
    drive.current_command = ATA.writeDmaExt
    drive.error_reg = 0
    drive.status_reg = DONE | STATUS.dataRequest
    drive.channel.dma_status |= 1
    this.#expectsRanges = true
  }

  /** @returns whether the transfer carried ranges */
  trim(transfer: () => void): boolean {
    if (!this.#expectsRanges) return false
    this.#expectsRanges = false
    const drive = this.#drive
    const { buffer } = drive
    // v86 gathers the data and passes it to the drive's buffer, so a stand-in buffer catches it.
    let taken: { readonly data: Uint8Array; readonly fn: () => void } | undefined
    const byteLength = this.disk.size
    drive.buffer = {
      byteLength,
      set: (_: number, data: Uint8Array, fn: () => void) => (taken = { data, fn }),
    }
    try {
      transfer()
    } finally {
      drive.buffer = buffer
    }
    if (taken) this.#discard(trimRanges(taken.data), taken.fn)
    return true
  }

  #discard(ranges: readonly TrimRange[], fn: () => void): void {
    const life = this.#life
    void Promise.all(ranges.map(({ sector, count }) => this.disk.discard(sector, count))).then(
      () => {
        if (life === this.#life) fn()
      },
      () => {
        if (life === this.#life) this.#fail()
      },
    )
  }

  /** Interrupts only after the write. v86 does so before: its guest does not wait, and writes pile up. */
  writeByPio(): boolean {
    const drive = this.#drive
    const { data_length: bytes } = drive
    if (drive.is_atapi) return false
    drive.status_reg = STATUS.ready | STATUS.busy
    drive.ata_advance(drive.current_command, bytes / 512)
    this.disk.set(drive.write_dest, drive.data.subarray(0, bytes), () => this.#succeed())
    drive.report_write(bytes)
    return true
  }

  reset(): void {
    this.#life++
    this.#expectsRanges = false
    this.disk.abandon()
  }

  readFailed(fn: (data: Uint8Array) => void): void {
    const drive = this.#drive
    // The empty answer makes v86 forget the request.
    drive.cancel_io_operations()
    fn(new Uint8Array(0))
    if (!drive.is_atapi) {
      this.#fail()
      return
    }
    drive.atapi_check_condition_response(MEDIUM_ERROR, UNRECOVERED_READ)
    drive.channel.dma_status &= ~1
    drive.push_irq()
  }

  writeFailed(): void {
    this.#fail()
  }

  /** Runs a command without data; the drive is busy meanwhile. */
  #run(command: number, work: () => Promise<void>): void {
    const drive = this.#drive
    const life = this.#life
    drive.current_command = command
    drive.error_reg = 0
    drive.status_reg = STATUS.ready | STATUS.busy
    void work().then(
      () => {
        if (life === this.#life) this.#succeed()
      },
      () => {
        if (life === this.#life) this.#fail()
      },
    )
  }

  #succeed(): void {
    this.#drive.status_reg = DONE
    this.#drive.push_irq()
  }

  /**
   * Reports a medium error, also for commands other than reads: an aborted command would make Linux retry six
   * times and slow down its DMA.
   */
  #fail(): void {
    const drive = this.#drive
    drive.error_reg = ERROR.uncorrectable
    drive.status_reg = STATUS.ready | STATUS.error
    drive.channel.dma_status &= ~1
    drive.current_command = -1
    drive.push_irq()
  }
}
