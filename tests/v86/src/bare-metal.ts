/**
 * The drives of a machine without an operating system, controlled through their ports as a device driver
 * would: a disk on the first channel, a CD on the second.
 * @module
 */
import type { Emulator } from './machine.ts'

interface Processor {
  readonly mem8: Uint8Array
  readonly io: {
    port_write8(port: number, value: number): void
    port_write16(port: number, value: number): void
    port_write32(port: number, value: number): void
    port_read8(port: number): number
    port_read16(port: number): number
  }
}

/** Ports of the first channel; those of the second are 80h below, and 8 above for the bus master of v86. */
const DATA = 0x1f0
const FEATURES = 0x1f1
const COUNT = 0x1f2
const LBA = 0x1f3
const DEVICE = 0x1f6
const STATUS = 0x1f7
const CONTROL = 0x3f6
const BUS_MASTER = 0xb400
/** The addresses in memory of the bus master's table, and of its buffer. */
const TABLE = 0x1000
const BUFFER = 0x10000

/** How a command ended. */
export interface Outcome {
  readonly status: number
  readonly error: number
}

/** Status of a drive that is done without an error. */
export const WELL = 0x50
/** Status and error of a medium fault. */
export const FAULT: Outcome = { status: 0x41, error: 0x40 }

/** The drive of one channel. */
export class BareDrive {
  readonly #processor: Processor
  readonly #channel: 0 | 1

  constructor(emulator: Emulator, channel: 0 | 1 = 0) {
    this.#channel = channel
    this.#processor = (emulator as unknown as { readonly v86: { readonly cpu: Processor } }).v86.cpu
    this.#out(CONTROL, 0)
  }

  get status(): number {
    return this.#in(STATUS)
  }
  get isBusy(): boolean {
    return (this.status & 0x88) !== 0
  }

  /** Yields until the drive is done, at most `turns` times. */
  async outcome(turns = 2000): Promise<Outcome | undefined> {
    for (; turns > 0; turns--) {
      if (!this.isBusy && !this.#isTransferring) return { status: this.status, error: this.#in(FEATURES) }
      await new Promise((resolve) => setImmediate(resolve))
    }
    return undefined
  }

  command(command: number, features = 0): void {
    this.#out(DEVICE, 0xe0)
    this.#out(FEATURES, features)
    this.#out(STATUS, command)
  }

  /** The 512 bytes of IDENTIFY DEVICE, as 16-bit words. */
  identify(): Uint16Array {
    this.command(0xec)
    return Uint16Array.from({ length: 256 }, () => this.#word())
  }

  /** WRITE DMA EXT, or another command that sends data. */
  startDmaWrite(sector: number, bytes: Uint8Array, command = 0x35, features = 0): void {
    this.#processor.mem8.set(bytes, BUFFER)
    this.#transfer(sector, bytes.length, command, features, 1)
  }

  startDmaRead(sector: number, bytes: number): void {
    this.#transfer(sector, bytes, 0x25, 0, 9)
  }

  /** The data of the last read. */
  transferred(bytes: number): Uint8Array {
    return this.#processor.mem8.slice(BUFFER, BUFFER + bytes)
  }

  /** WRITE SECTORS EXT, with all data sent. */
  startPioWrite(sector: number, bytes: Uint8Array): void {
    this.#address(sector, bytes.length / 512)
    this.command(0x34)
    const words = new Uint16Array(bytes.slice().buffer)
    for (const word of words) this.#processor.io.port_write16(this.#port(DATA), word)
  }

  /** READ(10) of one sector of a CD, by PIO. @returns the outcome, and the data */
  readCd(sector: number): Promise<Outcome & { readonly data: Uint8Array }> {
    const packet = new DataView(new ArrayBuffer(12))
    packet.setUint8(0, 0x28)
    packet.setUint32(2, sector)
    packet.setUint16(7, 1)
    return this.#packet(packet)
  }

  async #packet(packet: DataView): Promise<Outcome & { readonly data: Uint8Array }> {
    this.#out(LBA + 1, 0xfe)
    this.#out(LBA + 2, 0xff)
    this.command(0xa0)
    for (let at = 0; at < 12; at += 2)
      this.#processor.io.port_write16(this.#port(DATA), packet.getUint16(at, true))
    while ((this.status & 0x80) !== 0) await new Promise((resolve) => setImmediate(resolve))
    const words: number[] = []
    while ((this.status & 0x08) !== 0) words.push(this.#word())
    return {
      status: this.status,
      error: this.#in(FEATURES),
      data: new Uint8Array(Uint16Array.from(words).buffer),
    }
  }

  reset(): void {
    this.#out(CONTROL, 4)
    this.#out(CONTROL, 0)
    this.#out(BUS_MASTER, 0)
  }

  #transfer(sector: number, bytes: number, command: number, features: number, way: number): void {
    const table = new DataView(this.#processor.mem8.buffer, this.#processor.mem8.byteOffset + TABLE)
    table.setUint32(0, BUFFER, true)
    table.setUint32(4, (bytes % 65536) + 0x80000000, true)
    this.#out(BUS_MASTER, 0)
    this.#processor.io.port_write32(this.#port(BUS_MASTER + 4), TABLE)
    this.#address(sector, bytes / 512)
    this.command(command, features)
    this.#out(BUS_MASTER, way)
  }

  /** The bus master's flag, which v86 clears at the end of a transfer. */
  get #isTransferring(): boolean {
    return (this.#in(BUS_MASTER + 2) & 1) !== 0
  }

  /** Sets a 48-bit sector and a count: the upper bytes are written first. */
  #address(sector: number, count: number): void {
    this.#out(COUNT, count >> 8)
    this.#out(COUNT, count & 0xff)
    for (const [index, upper] of [
      [0, 24],
      [1, 32],
      [2, 40],
    ] as const) {
      this.#out(LBA + index, Math.floor(sector / 2 ** upper) & 0xff)
      this.#out(LBA + index, Math.floor(sector / 2 ** (8 * index)) & 0xff)
    }
  }

  #port(port: number): number {
    if (this.#channel === 0) return port
    return port >= BUS_MASTER ? port + 8 : port - 0x80
  }
  #out(port: number, value: number): void {
    this.#processor.io.port_write8(this.#port(port), value)
  }
  #in(port: number): number {
    return this.#processor.io.port_read8(this.#port(port))
  }
  #word(): number {
    return this.#processor.io.port_read16(this.#port(DATA))
  }
}
