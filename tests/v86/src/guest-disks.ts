/**
 * The kinds of images that guests get, and checks of them by the host's programs.
 * @module
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  type NodeOptions,
  type OpenEnvironment,
  openMemory,
  openNode,
} from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import type { Bench } from '../../support/real-qemu.ts'

/** Bytes of a guest's disk. */
export const DISK = 16 * 2 ** 20

/** The disk's identity in the saved states of these tests, for every image. */
export const IDENTITY = 'the disk of the guest'

/** The kinds of images, as the tests name them. */
export const KINDS = [
  'raw',
  'qcow2',
  'qcow2 with lazy refcounts',
  'qcow2 overlay over a backing file',
] as const

/** A kind of image. */
export type Kind = (typeof KINDS)[number]

/** The name of the format. */
export const formatOf = (kind: Kind): 'raw' | 'qcow2' => (kind === 'raw' ? 'raw' : 'qcow2')

/** The contents of the overlay's backing file: data everywhere, so that mistakes in copying show. */
export const baseContent = (): Uint8Array => {
  const block = createRandom(86).bytes(65536)
  const content = new Uint8Array(DISK)
  for (let at = 0; at < DISK; at += block.length) content.set(block, at)
  return content
}

/** The bytes of an empty image file of that kind. */
export async function emptyImage(kind: Kind): Promise<Uint8Array> {
  if (kind === 'raw') return new Uint8Array(DISK)
  const file = openMemory(new Uint8Array(0))
  await formatImage(qcow2, file, {
    size: DISK,
    lazyRefcounts: kind === 'qcow2 with lazy refcounts',
    ...(kind.includes('overlay') && { backingFile: 'base.img', backingFmt: 'raw' }),
  })
  const bytes = new Uint8Array(file.size)
  await file.read(0, bytes)
  return bytes
}

/** An environment that records repairs. */
export function guestEnvironment(repairs: string[] = []): OpenEnvironment {
  return {
    registry: new DriverRegistry([raw, qcow2, memory]),
    host: denyHost,
    onRepair: (_, node) => repairs.push(node),
  }
}

/** The options of a node of that kind, on an open node that holds its file. */
export function imageOptions(kind: Kind, file: BlockNode): NodeOptions {
  return {
    driver: formatOf(kind),
    discard: 'unmap',
    file,
    ...(kind.includes('overlay') && { backing: openMemory(baseContent(), { readOnly: true }) }),
  }
}

/** The contents of a node's disk. */
export async function contentOf(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size)
  for (let at = 0; at < bytes.length; at += 2 ** 20) await node.read(at, bytes.subarray(at, at + 2 ** 20))
  return bytes
}

/** The contents of the disk in a file's bytes. */
export async function diskOf(kind: Kind, bytes: Uint8Array): Promise<Uint8Array> {
  const node = await openNode(guestEnvironment(), imageOptions(kind, openMemory(bytes)))
  try {
    return await contentOf(node)
  } finally {
    await node.close()
  }
}

/**
 * Checks with the real programs that the image is sound, and holds `disk`.
 *
 * @param leaks whether clusters may be leaked, as by a crash
 */
export function requireSound(bench: Bench, kind: Kind, name: string, disk: Uint8Array, leaks: boolean): void {
  const format = formatOf(kind)
  if (kind.includes('overlay')) bench.write('base.img', baseContent())
  bench.write('disk.raw', disk)
  const compare = bench.attempt('qemu-img', 'compare', '-f', format, '-F', 'raw', name, 'disk.raw')
  if (compare.status !== 0) throw new Error(`qemu-img compare: ${compare.stdout}${compare.stderr}`)
  if (format === 'raw') return
  const { status, stdout, stderr } = bench.attempt('qemu-img', 'check', '-f', format, name)
  // 3: leaked clusters, and nothing else.
  if (status !== 0 && !(leaks && status === 3)) throw new Error(`qemu-img check: ${stdout}${stderr}`)
}

/**
 * Checks with the host's e2fsprogs, if installed, that the file system is sound.
 *
 * @returns the SHA-256 of its files, by name
 */
export function requireFileSystem(
  bench: Bench,
  disk: Uint8Array,
  files: readonly string[],
): ReadonlyMap<string, string> {
  const hashes = new Map<string, string>()
  const path = bench.path('filesystem.img')
  writeFileSync(path, disk)
  const check = spawnSync('e2fsck', ['-f', '-n', path], { encoding: 'utf8' })
  if (check.error) return hashes
  if (check.status !== 0) throw new Error(`e2fsck: ${check.stdout}${check.stderr}`)
  for (const file of files) {
    const copy = bench.path('file')
    spawnSync('debugfs', ['-R', `dump ${file} ${copy}`, path])
    const { stdout } = spawnSync('sha256sum', [copy], { encoding: 'utf8' })
    hashes.set(file, stdout.slice(0, 64))
  }
  return hashes
}
