/** Saves the state of an emulator with these disks, after all requests have ended and are durable. */
import { expects, requireCallback } from '@vmblock/block-core/driver'
import { requireDisk } from '../disk/check-disk.ts'
import type { V86Disk } from './v86-disk.ts'

/** The methods of a `V86` that are needed. */
export interface SavableEmulator {
  is_running(): boolean
  run(): Promise<void> | void
  stop(): Promise<void> | void
  save_state(): Promise<ArrayBuffer>
}

/** Checks for an object that runs and can be stopped, such as a `V86`. */
export const requireEmulator = expects('a V86', (value) => {
  const { is_running, run, stop } = (value ?? {}) as Partial<SavableEmulator>
  return [is_running, run, stop].every((method) => typeof method === 'function')
})

/**
 * Pauses the emulator, drains and flushes its disks, and saves its state. The state names the images, and is
 * only valid with their current content: once the guest has written more, restoring it is refused.
 *
 * @throws BlockError as a disk fails; an emulator that was running continues in any case
 */
export async function saveState(
  emulator: SavableEmulator,
  ...disks: readonly V86Disk[]
): Promise<ArrayBuffer> {
  requireEmulator(emulator, 'emulator')
  requireCallback(emulator.save_state, 'emulator.save_state')
  for (const disk of disks) requireDisk(disk, 'disks')
  const wasRunning = emulator.is_running()
  await emulator.stop()
  try {
    for (const disk of disks) {
      await disk.drain()
      if (!disk.readOnly) await disk.flush()
    }
    return await emulator.save_state()
  } finally {
    if (wasRunning) await emulator.run()
  }
}
