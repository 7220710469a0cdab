/**
 * The image formats that the programs, the disks of emulators and the tests know. This list is the only one: each
 * format's `/testing` entry tells the tests what to do with it.
 */
import type { AnyDriver } from '@vmblock/block-core'
import { lateFormat } from '@vmblock/block-core/driver'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'

/** Formats whose drivers are loaded with the first image that has them: a line here, and one in `late-formats.ts`. */
const LATE: readonly string[] = ['qed', 'vhdx', 'vdi', 'parallels', 'dmg', 'bochs', 'cloop']

/** Drivers of image formats, in the order in which they are probed. They run in browsers, too. */
export const formats: readonly AnyDriver[] = [
  raw,
  qcow2,
  ...LATE.map((name) => lateFormat(name, async () => (await import('./late-formats.ts')).loadFormat(name))),
]
