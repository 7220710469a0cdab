/** Raw disks over an array of bytes, opened without a resolver, for the tests of this package. */
import type { BlockNode, WriteFlags } from '@vmblock/block-core'
import { type DebugEvent, type NodeOps, parseOptions } from '@vmblock/block-core/driver'
import { edgeTo, makeNode, PLAIN_CONFIG } from '@vmblock/block-core/testing'
import { raw } from '../raw.ts'
import { rawOptions } from '../window.ts'

/** A file in memory that records its calls. */
export class ByteFile implements NodeOps {
  readonly growable: boolean
  readonly zeroFlags = new Set(['fua', 'mayUnmap', 'noFallback'] as const)
  readonly writeFlags = new Set(['fua'] as const)
  readonly calls: string[] = []
  readonly events: DebugEvent[] = []
  bytes: Uint8Array

  constructor(size: number, growable = true) {
    this.bytes = Uint8Array.from({ length: size }, (_, index) => index % 251)
    this.growable = growable
  }
  size(): number {
    return this.bytes.length
  }
  async read(offset: number, into: Uint8Array): Promise<void> {
    into.fill(0)
    into.set(this.bytes.subarray(offset, offset + into.length))
  }
  async write(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void> {
    this.calls.push(`write ${offset}+${from.length}${flags.fua ? ' fua' : ''}`)
    if (offset + from.length > this.bytes.length) this.#resize(offset + from.length)
    this.bytes.set(from, offset)
  }
  async writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    this.calls.push(
      `zero ${offset}+${bytes}${flags.mayUnmap ? ' unmap' : ''}${flags.noFallback ? ' fast' : ''}`,
    )
    this.bytes.fill(0, offset, offset + bytes)
  }
  async discard(offset: number, bytes: number): Promise<void> {
    this.calls.push(`discard ${offset}+${bytes}`)
  }
  async flush(): Promise<void> {
    this.calls.push('flush')
  }
  async truncate(size: number, { preallocation = 'off' }: { preallocation?: string } = {}): Promise<void> {
    this.calls.push(`truncate ${size} ${preallocation}`)
    this.#resize(size)
  }
  async info() {
    return { actualSize: 4096, formatSpecific: { type: 'file', data: {} } }
  }
  async blockStatus(offset: number, bytes: number) {
    const zero = offset >= 1024
    return { bytes: zero ? bytes : Math.min(bytes, 1024 - offset), allocated: true, data: !zero, zero }
  }
  debugEvent(event: DebugEvent): void {
    this.events.push(event)
  }
  #resize(size: number): void {
    const resized = new Uint8Array(size)
    resized.set(this.bytes.subarray(0, size))
    this.bytes = resized
  }
}

/** Options for opening a raw disk. */
export interface OpenRawOptions {
  readonly options?: Readonly<Record<string, unknown>>
  readonly readOnly?: boolean
  /** The image's format was probed; the function tells which heads and tails belong to other formats. */
  readonly probedUnless?: (head: Uint8Array, tail: Uint8Array) => boolean
}

/** A node over a file. */
export const fileNode = (file: NodeOps): BlockNode =>
  makeNode({
    name: 'file0',
    driver: raw,
    filename: 'disk.img',
    config: PLAIN_CONFIG,
    ops: file,
    children: new Map(),
  })

/** Opens the raw driver over `file`. */
export async function openRaw(file: ByteFile, how: OpenRawOptions = {}) {
  const child = edgeTo(fileNode(file), 'file', 'raw0', raw.children?.['file'])
  const warnings: string[] = []
  const ops = await raw.open({
    nodeName: 'raw0',
    filename: 'disk.img',
    readOnly: how.readOnly ?? false,
    autoReadOnly: false,
    checkMode: false,
    noIo: false,
    unmap: true,
    direct: false,
    forceShare: false,
    probed: how.probedUnless !== undefined,
    otherFormat: (head, tail) => (how.probedUnless?.(head, tail) ? 'other' : undefined),
    options: parseOptions(rawOptions, how.options ?? {}),
    child: async () => child,
    requireChild: async () => child,
    children: async () => [],
    secret: () => Promise.reject(new Error('no secrets')),
    events: { corrupt() {}, repair() {}, warn: (line) => void warnings.push(line) },
    observe: () => () => undefined,
  })
  const children = new Map([['file', child]])
  const disk = makeNode({
    name: 'raw0',
    driver: raw,
    filename: 'disk.img',
    config: { ...PLAIN_CONFIG, readOnly: how.readOnly ?? false },
    ops,
    children,
  })
  return { disk, ops, warnings }
}
