/**
 * The formats that few images have, each in files of its own.
 *
 * This file is itself loaded late, with the first such image.
 */
import type { AnyDriver } from '@vmblock/block-core'

/** What loads each driver, by name. */
const DRIVERS: Readonly<Record<string, () => Promise<AnyDriver>>> = {
  qed: async () => (await import('@vmblock/qed')).qed,
  vhdx: async () => (await import('@vmblock/vhdx')).vhdx,
  vdi: async () => (await import('@vmblock/vdi')).vdi,
  parallels: async () => (await import('@vmblock/parallels')).parallels,
  dmg: async () => (await import('@vmblock/dmg')).dmg,
  bochs: async () => (await import('@vmblock/bochs')).bochs,
  cloop: async () => (await import('@vmblock/cloop')).cloop,
}

/** The driver of that name. */
export const loadFormat = (name: string): Promise<AnyDriver> => DRIVERS[name]!()
