/** The images that programs are measured on, made by our own library. */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readSync, rmSync } from 'node:fs'
import {
  type BlockNode,
  bitmapsOf,
  DriverRegistry,
  formatImage,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { camelKey, parseOptions } from '@vmblock/block-core/driver'
import { file, nodeHost } from '@vmblock/block-core/node'
import { createRandom } from '@vmblock/block-core/testing'
import { cacheMode } from '@vmblock/cli'
import { formats } from '@vmblock/formats'

/** The environment that opens images. */
export const environment = { registry: new DriverRegistry([...formats, file]), host: nodeHost() }

const MIB = 2 ** 20

/** A kind of image: a format, and the options of `qemu-img create -o`. */
export interface ImageKind {
  readonly id: string
  readonly title: string
  readonly format: 'raw' | 'qcow2' | 'qed'
  readonly options: RawOptions
  /** Further options of our driver for opening an image. */
  readonly runtimeOptions?: Readonly<Record<string, string | number>>
}

/** The kinds that are compared for the cost of an allocating write. */
export const KINDS: readonly ImageKind[] = [
  { id: 'raw', title: 'raw', format: 'raw', options: {} },
  { id: 'eager', title: 'qcow2 eager', format: 'qcow2', options: { lazy_refcounts: 'off' } },
  { id: 'lazy', title: 'qcow2 lazy refcounts', format: 'qcow2', options: { lazy_refcounts: 'on' } },
  { id: 'qed', title: 'QED', format: 'qed', options: {} },
]

/** Eager, with refcounts raised ahead: QEMU has no such mode, and is measured without it. */
export const RESERVED: ImageKind = {
  id: 'reserved',
  title: 'qcow2 eager, reserving',
  format: 'qcow2',
  options: { lazy_refcounts: 'off' },
  runtimeOptions: { 'refcount-reserve': 64 },
}

/** Whether our driver has the options of a kind. */
export const isAvailable = ({ format, runtimeOptions = {} }: ImageKind): boolean =>
  Object.keys(runtimeOptions).every(
    (key) => camelKey(key) in (environment.registry.get(format).options ?? {}),
  )

/** Makes an empty image, replacing the file at `path`. Nothing is flushed. */
export async function createImage(
  path: string,
  { format, options }: Pick<ImageKind, 'options'> & { readonly format: string },
  size: number,
): Promise<void> {
  rmSync(path, { force: true })
  await file.createFile?.(parseOptions(file.options ?? {}, { filename: path }) as never, 0, 'off')
  const node = await openNode(environment, { driver: 'file', filename: path, cache: UNSAFE })
  await formatImage(environment.registry.get(format), node, { ...options, size })
  await node.close()
}

const UNSAFE = { writeback: true, direct: false, 'no-flush': true }

/** Opens an image. */
export function openImage(
  path: string,
  format: string,
  cache: keyof typeof CACHES = 'unsafe',
): Promise<BlockNode> {
  return openNode(environment, { driver: format, filename: path, cache: CACHES[cache] })
}

const CACHES = { unsafe: UNSAFE, writethrough: asOptions('writethrough'), writeback: asOptions('writeback') }

function asOptions(name: string): RawOptions {
  const { writeCache, direct, noFlush } = cacheMode(name)!
  return { writeback: writeCache, direct, 'no-flush': noFlush }
}

/** Data that neither compresses to nothing nor repeats: half random, half text-like, each MiB stamped. */
export function dataOf(seed: number): Uint8Array {
  const data = createRandom(seed).bytes(MIB)
  for (let at = 0; at < MIB; at += 8192) data.fill(0x20 + ((at / 8192) % 64), at, at + 4096)
  return data
}

/** Writes data in every MiB of an image, or in the first `dataBytes` of every `stride` bytes. */
export async function fill(
  path: string,
  format: string,
  { stride = MIB, dataBytes = stride }: { readonly stride?: number; readonly dataBytes?: number } = {},
): Promise<void> {
  const data = dataOf(1)
  const stamp = new DataView(data.buffer)
  const node = await openImage(path, format)
  for (let offset = 0; offset < node.size; offset += stride) {
    stamp.setUint32(0, offset / MIB + 1)
    for (let at = 0; at < dataBytes; at += MIB)
      await node.write(offset + at, data.subarray(0, Math.min(MIB, dataBytes - at)))
  }
  await node.close()
}

/** Makes an image full of data. */
export async function createFull(
  path: string,
  kind: Pick<ImageKind, 'options'> & { readonly format: string },
  size: number,
): Promise<void> {
  await createImage(path, kind, size)
  await fill(path, kind.format)
}

/** Adds a bitmap to a qcow2 image: from then on, every write is recorded. */
export async function addBitmap(path: string): Promise<void> {
  const node = await openNode(environment, { driver: 'qcow2', filename: path })
  await bitmapsOf(node).add('changes')
  await node.close()
}

/** Makes a qcow2 image full of compressed data. */
export async function createCompressed(path: string, type: 'zlib' | 'zstd', size: number): Promise<void> {
  await createImage(path, { format: 'qcow2', options: { compression_type: type } }, size)
  const data = dataOf(1)
  const stamp = new DataView(data.buffer)
  const node = await openImage(path, 'qcow2')
  for (let offset = 0; offset < node.size; offset += MIB) {
    stamp.setUint32(0, offset / MIB + 1)
    await node.writeCompressed(offset, data.subarray(0, Math.min(MIB, node.size - offset)))
  }
  await node.close()
}

/** Reads the whole file into the page cache. */
export function warm(path: string): void {
  const fd = openSync(path, 'r')
  const buffer = new Uint8Array(MIB)
  while (readSync(fd, buffer) > 0) {}
  closeSync(fd)
}

/** Flushes earlier writes to the disk, so that they do not disturb the next measurement. */
export function syncToDisk(path: string): void {
  spawnSync('sync', ['-f', path])
}
