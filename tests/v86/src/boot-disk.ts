/**
 * A disk that boots Linux by the BIOS, with an ext4 file system in its partition.
 * @module
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import type { Bench } from '../../support/real-qemu.ts'
import { guestFile } from './guest-files.ts'

const { bootPart, PARTITION } = (await import(
  new URL('../../../scripts/guest-disk.mjs', import.meta.url).href
)) as {
  /** The offset of the partition in bytes. */
  readonly PARTITION: number
  /** The first bytes of a disk of `bytes`, up to its partition. */
  bootPart(kernel: Uint8Array, initramfs: Uint8Array, bytes: number): Uint8Array
}

/** Bytes of the partition. */
const SIZE = 16 * 2 ** 20

/** Whether mke2fs is installed. REQUIRE_QEMU=1 makes its absence an error instead of a skip. */
export const haveMkfs: boolean =
  spawnSync('mke2fs', ['-V']).error === undefined || process.env['REQUIRE_QEMU'] === '1'

/** The partition of a disk. */
export const partitionOf = (disk: Uint8Array): Uint8Array => disk.subarray(PARTITION)

/**
 * Makes the disk, as `base.raw` and `base.qcow2` in the bench, with these files in the root of its file
 * system.
 */
export function makeBootDisk(bench: Bench, files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  mkdirSync(bench.path('files'))
  for (const [name, content] of Object.entries(files)) bench.write(`files/${name}`, content)
  const options = ['-q', '-F', '-t', 'ext4', '-d', bench.path('files')]
  execFileSync('mke2fs', [...options, bench.path('files.img'), `${SIZE / 1024}k`])
  const kernel = new Uint8Array(guestFile('vmlinuz.bin'))
  const boot = bootPart(kernel, new Uint8Array(guestFile('initramfs.bin')), PARTITION + SIZE)
  bench.write('base.raw', Buffer.concat([boot, bench.read('files.img')]))
  bench.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'base.raw', 'base.qcow2')
  return bench.read('base.qcow2')
}
