/** Streams of requests through `qemu-img bench`, ours and QEMU's: the cost of a request, without start-up. */
import { type Command, runTimed } from '../child.ts'
import { addBitmap, createCompressed, createFull, syncToDisk, warm } from '../images.ts'
import type { MediumKind } from '../media.ts'
import { ours, theirs } from '../programs.ts'
import type { Contestant, Sample } from '../rounds.ts'
import { QEMU, type Target, type Workbench, type Workload } from '../workload.ts'

/** Arguments of `qemu-img bench` that make a stream of requests. */
export type StreamArguments = (count: number, depth: number) => readonly string[]

/** A stream of requests. */
export interface RequestStream {
  readonly args: StreamArguments
  /** The arguments for QEMU, if they differ. */
  readonly theirArgs?: StreamArguments
  readonly count: number
  readonly depth: number
  /** Restores the state of the image before the last run. */
  reset?(): Promise<void> | void
}

const secondsIn = (stdout: string): number => Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1])

/** Runs one request first, to measure the program itself; then all. */
async function measure(
  stream: RequestStream,
  command: (args: readonly string[]) => Command,
): Promise<Sample> {
  const { args, count, depth, reset } = stream
  await reset?.()
  const start = await runTimed(command(args(1, 1)))
  await reset?.()
  const all = await runTimed(command(args(count, depth)))
  return {
    wall: (secondsIn(all.stdout) * 1e6) / count,
    cpu: ((all.cpu - start.cpu) * 1e6) / Math.max(count - 1, 1),
  }
}

/** All contestants that can run a stream. */
export function streamContestants(workbench: Workbench, stream: RequestStream): Contestant[] {
  const { root, runtimes, hasQemu } = workbench
  const contestants: Contestant[] = runtimes.map((runtime) => ({
    side: runtime.id,
    run: () => measure(stream, (args) => ours(root, runtime, 'qemu-img', args)),
  }))
  if (hasQemu) {
    const theirStream = { ...stream, args: stream.theirArgs ?? stream.args }
    contestants.unshift({
      side: QEMU,
      run: () => measure(theirStream, (args) => theirs('qemu-img', args)),
    })
  }
  return contestants
}

const FULL_BYTES = 512 * 2 ** 20
/** An odd number of 4 KiB blocks, so that every offset is visited, each far from the one before. */
const STRIDE = 20484 * 1024

interface Shape {
  readonly id: string
  readonly title: string
  readonly bytes: number
  /** Bytes from one request to the next. */
  readonly step: number
}

const SHAPES: Readonly<Record<string, Shape>> = {
  small: { id: '4k', title: '4 KiB', bytes: 4096, step: STRIDE },
  cluster: { id: '64k', title: '64 KiB', bytes: 65536, step: STRIDE - 4096 + 65536 },
  large: { id: '1m', title: '1 MiB, in sequence,', bytes: 2 ** 20, step: 2 ** 20 },
}

interface Kind {
  readonly format: 'raw' | 'qcow2'
  readonly shape: keyof typeof SHAPES
  readonly isWrite: boolean
  readonly depth: number
  readonly count: number
  readonly target?: Pick<Target, 'must' | 'aim'>
}

const medium: MediumKind = 'memory'

function cached({ format, shape, isWrite, depth, count, target }: Kind): Workload {
  const { id, title, bytes, step } = SHAPES[shape]!
  const verb = isWrite ? 'overwrite' : 'read'
  return {
    id: `${verb}-${id}-${format}-d${depth}`,
    title: `${verb} ${title} ${format}, depth ${depth}`,
    medium,
    unit: 'request',
    ...(target && { target: { of: 'ratio', ...target } }),
    async prepare(workbench) {
      const image = await workbench.shared(medium, `full.${format}`, (path) =>
        createFull(path, { format, options: {} }, workbench.scaleBytes(FULL_BYTES)),
      )
      const words = ['-f', format, '-t', 'writeback', ...(isWrite ? ['-w', '--pattern=90'] : [])]
      const args: StreamArguments = (count, depth) => [
        ...['bench', ...words, '-c', String(count), '-d', String(depth)],
        ...['-s', String(bytes), '-S', String(step), image],
      ]
      warm(image)
      return streamContestants(workbench, { args, count: workbench.scale(count), depth })
    },
  }
}

const direct: Workload = {
  id: 'direct-read-4k-qcow2-d64',
  title: 'O_DIRECT read 4 KiB qcow2, depth 64 (QEMU: libaio)',
  medium: 'disk',
  unit: 'request',
  target: { of: 'ratio', must: 0.7, aim: 0.95 },
  async prepare(workbench) {
    const image = await workbench.shared('disk', 'full.qcow2', (path) =>
      createFull(path, { format: 'qcow2', options: {} }, workbench.scaleBytes(FULL_BYTES)),
    )
    syncToDisk(image)
    const args = (count: number, depth: number, ...more: readonly string[]): readonly string[] => [
      ...['bench', '-f', 'qcow2', '-t', 'none', ...more, '-c', String(count), '-d', String(depth)],
      ...['-s', '4096', '-S', String(STRIDE), image],
    ]
    return streamContestants(workbench, {
      args,
      theirArgs: (count, depth) => args(count, depth, '-i', 'native'),
      count: workbench.scale(30_000),
      depth: 64,
    })
  },
}

/** The same writes as without a bitmap: what recording them costs is the difference of the two rows. */
const recorded: Workload = {
  id: 'overwrite-4k-qcow2-bitmap-d64',
  title: 'overwrite 4 KiB qcow2 with a bitmap, depth 64',
  medium,
  unit: 'request',
  target: { of: 'ratio', must: 1.5, aim: 3.5 },
  async prepare(workbench) {
    const image = await workbench.shared(medium, 'full.bitmap.qcow2', async (path) => {
      await createFull(path, { format: 'qcow2', options: {} }, workbench.scaleBytes(FULL_BYTES))
      await addBitmap(path)
    })
    const args: StreamArguments = (count, depth) => [
      ...['bench', '-f', 'qcow2', '-t', 'writeback', '-w', '--pattern=90', '-c', String(count)],
      ...['-d', String(depth), '-s', '4096', '-S', String(STRIDE), image],
    ]
    warm(image)
    return streamContestants(workbench, { args, count: workbench.scale(75_000), depth: 64 })
  },
}

/** Reads of compressed clusters of 64 KiB; in sequence, sixteen of them are in one. */
function compressed(type: 'zlib' | 'zstd', order: 'sequence' | 'strides'): Workload {
  const step = order === 'sequence' ? 4096 : STRIDE
  return {
    id: `read-4k-${type}-${order}`,
    title: `read 4 KiB qcow2, compressed with ${type}, ${order === 'sequence' ? 'in sequence' : 'far apart'}`,
    medium,
    unit: 'request',
    target: { of: 'ratio', must: 1, aim: 3 },
    async prepare(workbench) {
      const image = await workbench.shared(medium, `${type}.qcow2`, (path) =>
        createCompressed(path, type, workbench.scaleBytes(FULL_BYTES / 2)),
      )
      warm(image)
      const args: StreamArguments = (count, depth) => [
        ...['bench', '-f', 'qcow2', '-c', String(count), '-d', String(depth)],
        ...['-s', '4096', '-S', String(step), image],
      ]
      return streamContestants(workbench, { args, count: workbench.scale(8_000), depth: 1 })
    },
  }
}

const BOTH = [false, true] as const

/** Rows of requests that allocate nothing. */
export const requestWorkloads: readonly Workload[] = [
  ...BOTH.flatMap((isWrite) => [
    cached({ format: 'raw', shape: 'small', isWrite, depth: 1, count: 30_000 }),
    cached({ format: 'raw', shape: 'small', isWrite, depth: 64, count: 75_000 }),
    cached({
      format: 'qcow2',
      shape: 'small',
      isWrite,
      depth: 1,
      count: 30_000,
      target: { must: 3, aim: 7 },
    }),
    cached({
      format: 'qcow2',
      shape: 'small',
      isWrite,
      depth: 64,
      count: 75_000,
      target: { must: 1.5, aim: 3.5 },
    }),
    cached({
      format: 'qcow2',
      shape: 'cluster',
      isWrite,
      depth: 1,
      count: 20_000,
      target: { must: 1, aim: 2 },
    }),
    cached({
      format: 'qcow2',
      shape: 'cluster',
      isWrite,
      depth: 64,
      count: 30_000,
      target: { must: 0.8, aim: 1.1 },
    }),
    cached({
      format: 'qcow2',
      shape: 'large',
      isWrite,
      depth: 1,
      count: 3000,
      target: { must: 0.8, aim: 1 },
    }),
    cached({
      format: 'qcow2',
      shape: 'large',
      isWrite,
      depth: 64,
      count: 4000,
      target: { must: 0.8, aim: 1 },
    }),
  ]),
  recorded,
  direct,
  ...(['zlib', 'zstd'] as const).flatMap((type) =>
    (['sequence', 'strides'] as const).map((order) => compressed(type, order)),
  ),
]
