/** Whole commands, start-up included: conversions, a script, and programs that have little to do. */
import { copyFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { openNode } from '@vmblock/block-core'
import { type Command, runTimed } from '../child.ts'
import { createCompressed, createFull, createImage, environment, fill, warm } from '../images.ts'
import { ours, type Program, theirs } from '../programs.ts'
import type { Contestant, Sample } from '../rounds.ts'
import { emptySide, QEMU, type Target, type Workbench, type Workload } from '../workload.ts'

/** Times `times` runs of one command. @returns microseconds for each */
async function measure(command: Command, times: number, reset?: () => Promise<void> | void): Promise<Sample> {
  let wall = 0
  let cpu = 0
  for (let i = 0; i < times; i++) {
    await reset?.()
    const outcome = await runTimed(command)
    wall += outcome.wall
    cpu += outcome.cpu
  }
  return { wall: (wall * 1e6) / times, cpu: (cpu * 1e6) / times }
}

/** A command, for ours and QEMU's program. */
export interface CommandLine {
  readonly program: Program
  readonly args: readonly string[]
  readonly stdin?: string
  /** Runs that make one sample; 1 by default. */
  readonly times?: number
  /** What QEMU's program is given, if it does the same with another command. */
  readonly theirArgs?: readonly string[]
  /** Restores the state before the last run. */
  reset?(): Promise<void> | void
  /** Called after our first run, because a program that does too little is fast. @throws Error */
  verify?(): Promise<void>
}

/** All contestants that can run a command line. */
export function commandContestants(workbench: Workbench, line: CommandLine): Contestant[] {
  const { root, runtimes, hasQemu } = workbench
  const { program, args, theirArgs = args, stdin, times = 1, reset, verify } = line
  const contestants: Contestant[] = runtimes.map((runtime) => {
    let isVerified = verify === undefined
    return {
      side: runtime.id,
      async run() {
        const sample = await measure(ours(root, runtime, program, args, { stdin }), times, reset)
        if (!isVerified) await verify?.()
        isVerified = true
        return sample
      },
    }
  })
  if (hasQemu)
    contestants.unshift({
      side: QEMU,
      run: () => measure(theirs(program, theirArgs, { stdin }), times, reset),
    })
  return contestants
}

interface Conversion {
  readonly id: string
  readonly title: string
  readonly from: 'raw' | 'qcow2'
  readonly to: 'raw' | 'qcow2'
  readonly isSparse?: boolean
  /** How the source is compressed. */
  readonly compressed?: 'zlib' | 'zstd'
  readonly options?: readonly string[]
  readonly target: Pick<Target, 'must' | 'aim'>
}

const DENSE_BYTES = 512 * 2 ** 20
const COMPRESSED_BYTES = 256 * 2 ** 20
const SPARSE = { size: 10 * 2 ** 30, stride: 64 * 2 ** 20, dataBytes: 2 ** 17 }

/** The image that is converted; the source of several rows. */
function source(workbench: Workbench, { from, isSparse = false, compressed }: Conversion): Promise<string> {
  const kind = { format: from, options: {} }
  if (compressed)
    return workbench.shared('memory', `${compressed}.qcow2`, (path) =>
      createCompressed(path, compressed, workbench.scaleBytes(COMPRESSED_BYTES)),
    )
  if (!isSparse)
    return workbench.shared('memory', `full.${from}`, (path) =>
      createFull(path, kind, workbench.scaleBytes(DENSE_BYTES)),
    )
  return workbench.shared('memory', `sparse.${from}`, async (path) => {
    await createImage(path, kind, workbench.scaleBytes(SPARSE.size))
    await fill(path, from, SPARSE)
  })
}

function conversion(row: Conversion): Workload {
  const { id, title, from, to, options = [], target } = row
  return {
    id: `convert-${id}`,
    title: `convert ${title}`,
    medium: 'memory',
    unit: 'command',
    target: { of: 'ratio', ...target },
    async prepare(workbench) {
      const image = await source(workbench, row)
      const path = workbench.own('memory', 'converted')
      warm(image)
      return commandContestants(workbench, {
        program: 'qemu-img',
        args: ['convert', '-f', from, '-O', to, ...options, image, path],
        reset: () => rmSync(path, { force: true }),
        async verify() {
          if (workbench.hasQemu)
            await runTimed(theirs('qemu-img', ['compare', '-f', from, '-F', to, image, path]))
        },
      })
    },
  }
}

const DENSE = { must: 0.7, aim: 1 }
const SPARSE_TARGET = { must: 0.4, aim: 0.7 }

const COMPRESSED_TARGET = { must: 0.8, aim: 1.2 }

const CONVERSIONS: readonly Conversion[] = [
  { id: 'raw-qcow2', title: 'raw to qcow2, full of data', from: 'raw', to: 'qcow2', target: DENSE },
  { id: 'qcow2-raw', title: 'qcow2 to raw, full of data', from: 'qcow2', to: 'raw', target: DENSE },
  {
    id: 'sparse-raw-qcow2',
    title: 'raw to qcow2, 10 GiB of holes',
    from: 'raw',
    to: 'qcow2',
    isSparse: true,
    target: SPARSE_TARGET,
  },
  {
    id: 'sparse-qcow2-raw',
    title: 'qcow2 to raw, 10 GiB of holes',
    from: 'qcow2',
    to: 'raw',
    isSparse: true,
    target: SPARSE_TARGET,
  },
  {
    id: 'zlib',
    title: '-c -m 8, zlib',
    from: 'raw',
    to: 'qcow2',
    options: ['-c', '-m', '8'],
    target: COMPRESSED_TARGET,
  },
  {
    id: 'zstd',
    title: '-c -m 8, zstd',
    from: 'raw',
    to: 'qcow2',
    options: ['-c', '-m', '8', '-o', 'compression_type=zstd'],
    target: COMPRESSED_TARGET,
  },
  {
    id: 'zlib-raw',
    title: 'qcow2 to raw, compressed with zlib',
    from: 'qcow2',
    to: 'raw',
    compressed: 'zlib',
    target: COMPRESSED_TARGET,
  },
  {
    id: 'zstd-raw',
    title: 'qcow2 to raw, compressed with zstd',
    from: 'qcow2',
    to: 'raw',
    compressed: 'zstd',
    target: COMPRESSED_TARGET,
  },
]

/** Discards the first half of a disk, which lies in the first half of its file, without a hole in the file. */
async function giveUpHalf(path: string): Promise<void> {
  const node = await openNode(environment, {
    driver: 'qcow2',
    discard: 'unmap',
    file: { driver: 'file', filename: path, discard: 'ignore' },
  })
  await node.discard(0, node.size / 2)
  await node.close()
}

/** Half of the image is given up; ours moves the other half, and QEMU's copies it to a new file. */
const compaction: Workload = {
  id: 'compact',
  title: 'compact, of which QEMU needs a copy: half of the clusters free',
  medium: 'memory',
  unit: 'command',
  target: { of: 'ratio', must: 0.4, aim: 1 },
  async prepare(workbench) {
    const size = workbench.scaleBytes(DENSE_BYTES)
    const full = await workbench.shared('memory', 'full.qcow2', (path) =>
      createFull(path, { format: 'qcow2', options: {} }, size),
    )
    const [holed, image, copy] = ['holed', 'compacted', 'copied'].map((name) => workbench.own('memory', name))
    copyFileSync(full, holed!)
    await giveUpHalf(holed!)
    return commandContestants(workbench, {
      program: 'qemu-img',
      args: ['compact', '-q', '-f', 'qcow2', image!],
      theirArgs: ['convert', '-f', 'qcow2', '-O', 'qcow2', image!, copy!],
      reset() {
        rmSync(copy!, { force: true })
        copyFileSync(holed!, image!)
      },
      async verify() {
        const { size: after } = statSync(image!)
        if (after > statSync(holed!).size * 0.6) throw new Error(`the file is not compact: ${after} bytes`)
      },
    })
  },
}

const SCRIPT_COMMANDS = 1000

const script: Workload = {
  id: 'script-1000',
  title: `a script of ${SCRIPT_COMMANDS} qemu-io commands`,
  medium: 'memory',
  unit: 'command',
  target: { of: 'ratio', must: 1, aim: 2 },
  async prepare(workbench) {
    const image = workbench.own('memory', 'scripted')
    const stdin = workbench.own('memory', 'script')
    const lines = Array.from({ length: SCRIPT_COMMANDS / 2 }, (_, i) => {
      const request = `-P ${1 + (i % 255)} ${i * 65536} 4k`
      return `write ${request}\nread ${request}\n`
    })
    writeFileSync(stdin, lines.join(''))
    return commandContestants(workbench, {
      program: 'qemu-io',
      args: ['-f', 'qcow2', image],
      stdin,
      reset: () => createImage(image, { format: 'qcow2', options: {} }, 2 ** 30),
    })
  },
}

/** Runs that make one sample: a start-up is short, but its noise is large. */
const STARTS = 5

function startUp(name: string, args: (image: string) => readonly string[]): Workload {
  return {
    id: `start-${name}`,
    title: `start-up of ${name}`,
    medium: 'memory',
    unit: 'command',
    target: { of: 'start', must: 1.5, aim: 1.2 },
    async prepare(workbench) {
      const image = await workbench.shared('memory', 'small.qcow2', (path) =>
        createFull(path, { format: 'qcow2', options: {} }, 4 * 2 ** 20),
      )
      const empty = workbench.own('memory', 'empty.cjs')
      writeFileSync(empty, '')
      const contestants = commandContestants(workbench, {
        program: 'qemu-img',
        args: args(image),
        times: STARTS,
      })
      return workbench.runtimes
        .map(
          (runtime): Contestant => ({
            side: emptySide(runtime),
            run: () => measure({ file: runtime.path, args: [empty] }, STARTS),
          }),
        )
        .concat(contestants)
    },
  }
}

/** A snapshot of a large disk of which every cluster is allocated: the tables are read and written, the data is not. */
const snapshot: Workload = {
  id: 'snapshot-create',
  title: 'snapshot of 100 GiB, all allocated',
  medium: 'memory',
  unit: 'command',
  target: { of: 'ratio', must: 0.5, aim: 1 },
  async prepare(workbench) {
    const image = await workbench.shared('memory', 'allocated.qcow2', (path) =>
      createImage(
        path,
        { format: 'qcow2', options: { preallocation: 'metadata' } },
        workbench.scaleBytes(100 * 2 ** 30),
      ),
    )
    let isMade = false
    return commandContestants(workbench, {
      program: 'qemu-img',
      args: ['snapshot', '-c', 'one', image],
      async reset() {
        const [runtime] = workbench.runtimes
        if (isMade)
          await runTimed(ours(workbench.root, runtime!, 'qemu-img', ['snapshot', '-d', 'one', image], {}))
        isMade = true
      },
    })
  },
}

/** Rows of whole commands. */
export const commandWorkloads: readonly Workload[] = [
  ...CONVERSIONS.map(conversion),
  compaction,
  script,
  snapshot,
  startUp('info', (image) => ['info', image]),
  startUp('create', (image) => ['create', '-q', '-f', 'qcow2', `${image}.new`, '1G']),
  startUp('check', (image) => ['check', image]),
  startUp('map', (image) => ['map', image]),
]
