/**
 * A machine of v86 with a Linux in it, controlled over the serial line.
 * @module
 */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { attachDisk, type DriveAttachment, type V86Disk } from '@vmblock/v86'
import { guestFile } from './guest-files.ts'

const require = createRequire(import.meta.url)

/** The releases of v86 that are installed, by the names of their packages. */
export const V86_RELEASES = ['v86', 'v86-446', 'v86-455', 'v86-461'] as const

/** One of these releases. */
export type V86Release = (typeof V86_RELEASES)[number]

/** The parts of a `V86` that the tests use. */
export interface Emulator {
  add_listener(event: string, listener: (value: never) => void): void
  serial0_send(text: string): void
  is_running(): boolean
  run(): Promise<void>
  stop(): Promise<void>
  save_state(): Promise<ArrayBuffer>
  restore_state(state: ArrayBuffer): Promise<void>
  destroy(): Promise<void>
}

/** Makes an emulator; resolves when it is loaded. It does not run yet. */
export async function makeEmulator(
  settings: Readonly<Record<string, unknown>>,
  release: V86Release = 'v86',
): Promise<Emulator> {
  const { V86 } = (await import(release)) as { readonly V86: new (settings: object) => Emulator }
  const emulator = new V86({
    wasm_path: join(dirname(require.resolve(release)), 'v86.wasm'),
    vga_memory_size: 2 ** 21,
    disable_speaker: true,
    fastboot: true,
    autostart: false,
    bios: { buffer: guestFile('bios.bin') },
    vga_bios: { buffer: guestFile('vgabios.bin') },
    ...settings,
  })
  await new Promise<void>((resolve) => emulator.add_listener('emulator-loaded', () => resolve()))
  return emulator
}

/** Options that make the kernel start quickly: no timing calibration, no mitigations. */
const COMMAND_LINE =
  'console=ttyS0 quiet tsc=reliable lpj=4000000 mitigations=off nokaslr random.trust_cpu=on nosmp noreplace-smp'

/** Bytes of memory. v86 loads an initramfs at 64 MiB. */
const MEMORY = 96 * 2 ** 20

/** How a machine is started. */
export interface MachineOptions {
  readonly release?: V86Release
  /** Additions to the kernel's command line. */
  readonly append?: string
  /** Default: yes. */
  readonly attach?: boolean
  /** A state from {@link Machine.save}; without one the machine boots. */
  readonly state?: ArrayBuffer | undefined
}

/** A running Linux that runs commands one after the other. */
export class Machine {
  readonly emulator: Emulator
  readonly disk: V86Disk
  readonly attachment: DriveAttachment | undefined
  #output = ''
  #heard: ((code: string) => void) | undefined

  private constructor(emulator: Emulator, disk: V86Disk, attachment: DriveAttachment | undefined) {
    this.emulator = emulator
    this.disk = disk
    this.attachment = attachment
    emulator.add_listener('serial0-output-byte', (byte: number) => this.#hear(byte))
  }

  /** Resolves once the guest takes commands. */
  static async start(disk: V86Disk, options: MachineOptions = {}): Promise<Machine> {
    const emulator = await makeEmulator(
      {
        memory_size: MEMORY,
        bzimage: { buffer: guestFile('vmlinuz.bin') },
        initrd: { buffer: guestFile('initramfs.bin') },
        cmdline: `${COMMAND_LINE} ${options.append ?? ''}`,
        hda: disk,
      },
      options.release,
    )
    const attachment = options.attach === false ? undefined : attachDisk(emulator, disk)
    const machine = new Machine(emulator, disk, attachment)
    if (options.state) {
      await emulator.restore_state(options.state)
      await emulator.run()
    } else {
      const ready = machine.#marker()
      await emulator.run()
      if ((await ready) !== 'ready') throw new Error(`the guest did not start:\n${machine.#output}`)
    }
    return machine
  }

  /** Runs a shell command. */
  async attempt(command: string): Promise<{ readonly code: number; readonly output: string }> {
    this.#output = ''
    const marker = this.#marker()
    this.emulator.serial0_send(`${command}\n`)
    const code = Number(await marker)
    return { code, output: this.#output.replace(/@@\d+\n$/, '') }
  }

  /** Runs a command that has to succeed. @returns its output */
  async run(command: string): Promise<string> {
    const { code, output } = await this.attempt(command)
    if (code !== 0) throw new Error(`guest: ${command}: exit code ${code}\n${output}`)
    return output
  }

  /** Destroys the machine, whatever it is doing; the disk stays as it is. */
  async destroy(): Promise<void> {
    await this.emulator.destroy()
  }

  #marker(): Promise<string> {
    return new Promise((resolve) => (this.#heard = resolve))
  }

  #hear(byte: number): void {
    this.#output += String.fromCharCode(byte)
    if (byte !== 10) return
    const code = /@@(\w+)\r?\n$/.exec(this.#output)?.[1]
    if (code !== undefined) this.#heard?.(code)
  }
}
