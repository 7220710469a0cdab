/**
 * The part of v86's drives that attachDisk uses. None of this is documented; the names survive v86's
 * minifier. So everything that attachDisk relies on is first tried on a stand-in drive that no guest sees,
 * and any other behavior is refused.
 */
import { BlockError, messageOf } from '@vmblock/block-core'
import { ATA, STATUS } from './ata.ts'

/** A channel: two drives, and the bus master of both. */
export interface V86Channel {
  dma_status: number
  readonly master?: V86Drive
  readonly slave?: V86Drive
}

/** `IDEInterface` of v86. */
export interface V86Drive {
  buffer: unknown
  readonly is_atapi: boolean
  readonly channel: V86Channel
  readonly data: Uint8Array
  readonly data_length: number
  readonly write_dest: number
  readonly features_reg: number
  status_reg: number
  error_reg: number
  current_command: number
  ata_command(command: number): void
  ata_advance(command: number, sectors: number): void
  atapi_check_condition_response(key: number, code: number): void
  create_identify_packet(): void
  do_ata_write_sectors_dma(): void
  do_write(): void
  device_reset(): void
  cancel_io_operations(): void
  push_irq(): void
  report_write(bytes: number): void
  read_buffer(start: number, length: number, fn: (data: Uint8Array) => void): void
}

/** The methods of all drives of one copy of v86. */
export type V86DriveMethods = Pick<
  V86Drive,
  | 'ata_command'
  | 'ata_advance'
  | 'atapi_check_condition_response'
  | 'create_identify_packet'
  | 'do_ata_write_sectors_dma'
  | 'do_write'
  | 'device_reset'
  | 'cancel_io_operations'
  | 'push_irq'
  | 'report_write'
  | 'read_buffer'
>

/** The number of arguments of each method. */
const ARGUMENTS: Readonly<Record<keyof V86DriveMethods, number>> = {
  ata_command: 1,
  ata_advance: 2,
  atapi_check_condition_response: 2,
  create_identify_packet: 0,
  do_ata_write_sectors_dma: 0,
  do_write: 0,
  device_reset: 0,
  cancel_io_operations: 0,
  push_irq: 0,
  report_write: 1,
  read_buffer: 3,
}

const DONE = STATUS.ready | STATUS.seekComplete

/** Tries everything that attachDisk relies on. @throws BlockError ENOTSUP that names the first difference */
export function rehearse(methods: V86DriveMethods): void {
  const refuse = (what: string): never => {
    throw new BlockError('ENOTSUP', `this release of v86 has drives that attachDisk does not know: ${what}`)
  }
  for (const [name, count] of Object.entries(ARGUMENTS)) {
    const method = methods[name as keyof V86DriveMethods] as unknown
    if (typeof method !== 'function' || method.length !== count) refuse(`no ${name} of ${count} arguments`)
  }
  for (const [what, scene] of Object.entries(SCENES)) {
    let asExpected = false
    try {
      asExpected = scene(new StandIn(methods))
    } catch (error) {
      refuse(`${what} fails (${messageOf(error)})`)
    }
    if (!asExpected) refuse(`${what} is done in another way`)
  }
}

const SECTORS = 2048
const DMA_ADDRESS = 4096

/** A drive without a machine around it. */
class StandIn {
  readonly drive: V86Drive & Record<string, unknown>
  interrupts = 0
  readonly writes: { readonly start: number; readonly data: Uint8Array; readonly fn: () => void }[] = []
  readonly reads: { readonly fn: (data: Uint8Array) => void; readonly signal: AbortSignal }[] = []

  constructor(methods: V86DriveMethods) {
    const data = new Uint8Array(65536)
    const memory = new Uint8Array(8192)
    const view = new DataView(memory.buffer)
    // The table of the bus master: one transfer of one sector, marked as the last.
    view.setUint32(0, DMA_ADDRESS, true)
    view.setUint16(4, 512, true)
    view.setUint8(7, 0x80)
    memory.fill(0x5a, DMA_ADDRESS, DMA_ADDRESS + 512)
    this.drive = Object.assign(Object.create(methods) as V86Drive & Record<string, unknown>, {
      name: 'stand-in',
      is_atapi: false,
      drive_connected: true,
      interface_nr: 0,
      channel_nr: 0,
      channel: { dma_status: 0, prdt_addr: 0, push_irq: () => void this.interrupts++ },
      cpu: {
        mem8: memory,
        read32s: (at: number) => view.getInt32(at, true),
        read16: (at: number) => view.getUint16(at, true),
        read8: (at: number) => view.getUint8(at),
      },
      bus: { send: () => undefined },
      buffer: {
        byteLength: SECTORS * 512,
        set: (start: number, from: Uint8Array, fn: () => void) => this.writes.push({ start, data: from, fn }),
        get: (_: number, __: number, fn: (from: Uint8Array) => void, options: { signal: AbortSignal }) =>
          this.reads.push({ fn, signal: options.signal }),
      },
      data,
      data16: new Uint16Array(data.buffer),
      data32: new Int32Array(data.buffer),
      in_progress_io_ids: new Map(),
      cancelled_io_ids: new Set(),
      current_command: -1,
      current_atapi_command: -1,
      status_reg: DONE,
      sector_size: 512,
      sector_count: SECTORS,
      cylinder_count: 2,
      head_count: 16,
      sectors_per_track: 63,
      sectors_per_drq: 128,
      sector_count_reg: 1,
      is_lba: 1,
      medium_changed: false,
      ...ZEROES,
    })
  }
}

const ZEROES = {
  error_reg: 0,
  features_reg: 0,
  lba_low_reg: 0,
  lba_mid_reg: 0,
  lba_high_reg: 0,
  device_reg: 0,
  head: 0,
  data_pointer: 0,
  data_length: 0,
  data_end: 0,
  write_dest: 0,
  last_io_id: 0,
  atapi_sense_key: 0,
  atapi_add_sense: 0,
}

/** The trials; each returns whether the drive behaved as expected. */
const SCENES: Readonly<Record<string, (stage: StandIn) => boolean>> = {
  'the identification': ({ drive }) => {
    drive.create_identify_packet()
    const words = new DataView(drive.data.buffer)
    // The number of sectors; flushes are supported; no write cache yet.
    return (
      drive.data_length === 512 &&
      words.getUint32(60 * 2, true) === SECTORS &&
      (words.getUint16(83 * 2, true) & 0x7000) === 0x7000 &&
      (words.getUint16(85 * 2, true) & 0x20) === 0
    )
  },
  'a flush': (stage) => {
    stage.drive.ata_command(ATA.flushCache)
    return stage.interrupts === 1 && stage.drive.status_reg === DONE && stage.writes.length === 0
  },
  'a write by DMA': (stage) => {
    const { drive, writes } = stage
    drive.ata_command(ATA.writeDmaExt)
    if (drive.status_reg !== (DONE | STATUS.dataRequest) || (drive.channel.dma_status & 1) === 0) return false
    drive.do_ata_write_sectors_dma()
    const [write] = writes
    const before = stage.interrupts
    if (write?.start !== 0 || write.data.length !== 512 || write.data[511] !== 0x5a) return false
    write.fn()
    const { status_reg, current_command, channel } = drive
    const isIdle = status_reg === DONE && current_command === -1 && (channel.dma_status & 1) === 0
    return isIdle && before === 0 && stage.interrupts === 1
  },
  'a write by PIO': (stage) => {
    const { drive, writes } = stage
    Object.assign(drive, { current_command: ATA.writeSectors, data_length: 512, write_dest: 1024 })
    drive.do_write()
    const [write] = writes
    return (
      write?.start === 1024 &&
      write.data.length === 512 &&
      drive.status_reg === DONE &&
      stage.interrupts === 1
    )
  },
  'a read that is given up': ({ drive, reads }) => {
    let arrived = false
    drive.read_buffer(0, 512, () => (arrived = true))
    const [read] = reads
    if (!read || read.signal.aborted) return false
    drive.cancel_io_operations()
    read.fn(new Uint8Array(0))
    return read.signal.aborted && !arrived
  },
  'a read': ({ drive, reads }) => {
    let arrived = 0
    drive.read_buffer(0, 512, (data) => (arrived = data.length))
    reads[0]?.fn(new Uint8Array(512))
    return arrived === 512
  },
  'a reset': ({ drive, reads }) => {
    drive.read_buffer(0, 512, () => undefined)
    drive.device_reset()
    return reads[0]?.signal.aborted === true
  },
  'an error of a CD': ({ drive }) => {
    drive.atapi_check_condition_response(3, 0x11)
    return drive.status_reg === (STATUS.ready | STATUS.error) && drive.error_reg === 0x30
  },
}
