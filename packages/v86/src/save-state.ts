/** Saving the state of a machine whose disks are ours: nothing may be on its way, and what was written must be durable. */
import { expects, requireCallback } from '@vmblock/block-core'
import { requireDisk } from './check-source.ts'
import type { V86Disk } from './v86-disk.ts'

/** What is needed of a `V86`. */
export interface SavableEmulator {
  is_running(): boolean
  run(): Promise<void> | void
  stop(): Promise<void> | void
  save_state(): Promise<ArrayBuffer>
}

/** Something that runs and can be stopped, as a `V86`. */
export const requireEmulator = expects('a V86', (value) => {
  const { is_running, run, stop } = (value ?? {}) as Partial<SavableEmulator>
  return [is_running, run, stop].every((method) => typeof method === 'function')
})

/**
 * Pauses the emulator, drains and flushes its disks, and saves its state. The state names the images, and is of use with them as
 * they are now: once the guest has gone on to write, restoring it is refused.
 *
 * @throws BlockError as a disk fails; the emulator runs on in any case, if it ran
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
