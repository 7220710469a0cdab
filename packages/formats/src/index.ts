/**
 * The image formats that the programs, the disks of emulators and the tests know. This list is the only one: each
 * format's `/testing` entry tells the tests what to do with it.
 */
import type { AnyDriver } from '@vmblock/block-core'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'

/** Drivers of image formats, in the order in which they are probed. They run in browsers, too. */
export const formats: readonly AnyDriver[] = [raw, qcow2, qed]
