/**
 * Counts the cost of an allocating write: writes of 4 KiB, each to a fresh cluster of 64 KiB and durable
 * before it completes, from opening a new image to its clean shutdown. Ours by a log below the format, QEMU's
 * by strace.
 */
import { readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DriverRegistry, openNode, WriteLog, writeLog } from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { formats } from '@vmblock/formats'
import { runTimed } from '../child.ts'
import { createImage, type ImageKind } from '../images.ts'
import { theirs } from '../programs.ts'
import { type Call, CLUSTER, type Counts, PATTERN, sumUp, WRITE_BYTES } from './counts.ts'
import { parseTrace, TRACED } from './trace.ts'

const environment = {
  registry: new DriverRegistry([...formats, file, writeLog]),
  host: nodeHost(),
}

/** A stream of such writes. */
export interface Stream {
  readonly kind: Pick<ImageKind, 'format' | 'options' | 'runtimeOptions'>
  /** The path at which the image is made. It must not exist, and is removed. */
  readonly path: string
  /** Number of writes, and how many of them run at a time. */
  readonly writes: number
  readonly depth: number
}

/** Bytes of a disk for that many writes. */
export const diskBytes = (writes: number): number => Math.max(2 ** 30, writes * CLUSTER)

/** Counts our calls. */
export async function countOurs({ kind, path, writes, depth }: Stream): Promise<Counts> {
  await createImage(path, kind, diskBytes(writes))
  const log = new WriteLog()
  const node = await openNode(environment, {
    driver: kind.format,
    ...kind.runtimeOptions,
    cache: { writeback: false },
    file: { driver: 'write-log', log, file: { driver: 'file', filename: path } },
  })
  const data = new Uint8Array(WRITE_BYTES).fill(PATTERN)
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < writes) await node.write(next++ * CLUSTER, data)
  }
  await Promise.all(Array.from({ length: depth }, lane))
  await node.close()
  rmSync(path)
  const calls = log.entries.map((entry): Call => {
    const { kind, offset, bytes } = entry
    const isPattern = kind === 'write' && entry.data?.[0] === PATTERN
    return { kind: kind === 'write' || kind === 'flush' ? kind : 'other', offset, bytes, isPattern }
  })
  return sumUp(calls, writes)
}

/** Counts the calls of QEMU's own qemu-img. */
export async function countTheirs({ kind, path, writes, depth }: Stream): Promise<Counts> {
  const trace = join(dirname(path), `${basename(path)}.trace`)
  await createImage(path, kind, diskBytes(writes))
  const { file: program, args } = theirs(
    'qemu-img',
    benchArguments({ kind, path, writes, depth }, 'writethrough'),
  )
  const strace = ['-f', '-y', '-s', '1', '-e', TRACED, '-o', trace]
  try {
    await runTimed({ file: 'strace', args: [...strace, program, ...args] })
    return sumUp(parseTrace(readFileSync(trace, 'utf8'), path), writes)
  } finally {
    rmSync(path, { force: true })
    rmSync(trace, { force: true })
  }
}

/** The arguments of `qemu-img bench` that make such writes. */
export function benchArguments(
  { kind, path, writes, depth }: Stream,
  cache: string,
  runtimeOptions: ImageKind['runtimeOptions'] = {},
): string[] {
  const more = Object.entries(runtimeOptions).map(([key, value]) => `,${key}=${value}`)
  const image =
    more.length === 0
      ? ['-f', kind.format, path]
      : ['--image-opts', `driver=${kind.format}${more.join('')},file.driver=file,file.filename=${path}`]
  const size = ['-s', String(WRITE_BYTES), '-S', String(CLUSTER)]
  const count = ['-c', String(writes), '-d', String(depth)]
  return ['bench', '-t', cache, '-w', `--pattern=${PATTERN}`, ...count, ...size, ...image]
}
