/** What docs/embedding.md takes for granted: an emulator with its other options, a disk in use, a link. */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import type { V86Disk } from '@vmblock/v86'

/** What the examples use of v86. */
export class V86 {
  readonly settings: { readonly hda: V86Disk; readonly autostart?: boolean }
  constructor(settings: V86['settings']) {
    this.settings = settings
  }
  add_listener(_event: string, _listener: () => void): void {}
  is_running = (): boolean => false
  run(): void {}
  stop(): void {}
  save_state = (): Promise<ArrayBuffer> => Promise.resolve(new ArrayBuffer(0))
}

/** The emulator's other options. */
export const others: object = {}

export declare const disk: V86Disk
export declare const emulator: V86
export declare const link: { href: string }

/** A disk of the core. */
export const node: BlockNode = openMemory(new Uint8Array(65536))
/** A sector of it. */
export const sector = 1
/** Bytes of a guest. */
export const buffer: Uint8Array = new Uint8Array(512)
