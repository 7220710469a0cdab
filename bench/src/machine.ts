/** The machine that figures were measured on, without which they cannot be compared. */
import { execFileSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'
import type { Medium } from './media.ts'
import type { Runtime } from './runtimes.ts'

/** The description of a machine in tables and pictures. */
export interface Machine {
  readonly date: string
  /** Abbreviated commit of this repository, followed by `+` if files differ from it. */
  readonly commit: string | undefined
  readonly processor: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  /** File system of each kind of directory. */
  readonly media: Readonly<Record<string, string>>
  /** Versions of Node.js. */
  readonly runtimes: readonly string[]
  readonly qemu: string | undefined
  /** Average number of processes that wanted a processor in the last minute. */
  readonly load: number
}

const attempt = (file: string, ...args: string[]): string | undefined => {
  try {
    return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return undefined
  }
}

/** Version of the real programs; undefined if they are missing. */
export const qemuVersion = (): string | undefined =>
  /version ([\d.]+)/.exec(attempt('qemu-img', '--version') ?? '')?.[1]

/** Whether QEMU's system calls can be counted. */
export const canTrace = (): boolean => attempt('strace', '-V') !== undefined

/** Describes this machine in its current state. */
export function describeMachine(
  root: string,
  media: readonly Medium[],
  runtimes: readonly Runtime[],
  qemu: string | undefined,
): Machine {
  const commit = attempt('git', '-C', root, 'rev-parse', '--short', 'HEAD')
  const changes = attempt('git', '-C', root, 'status', '--porcelain')
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: commit && `${commit}${changes ? '+' : ''}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    media: Object.fromEntries(media.map(({ kind, fileSystem }) => [kind, fileSystem])),
    runtimes: runtimes.map(({ version }) => version),
    qemu,
    load: loadavg()[0]!,
  }
}

/** The description as lines of text. */
export function machineLines(machine: Machine): string[] {
  const { processor, cores, memoryBytes, kernel, media, runtimes, qemu, date, commit } = machine
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`
  return [
    `${processor}, ${cores} ${cores === 1 ? 'core' : 'cores'}, ${memory}; ${kernel}${mediaText(media)}`,
    `${runtimes.map((version) => `Node ${version}`).join(', ')}; ${qemu ? `QEMU ${qemu}` : 'no QEMU'}; ${date}${commit ? `, ${commit}` : ''}`,
  ]
}

const mediaText = (media: Machine['media']): string =>
  Object.entries(media)
    .map(([kind, fileSystem]) => `; ${kind}: ${fileSystem}`)
    .join('')

/** A warning if other processes use the machine, so that figures mean little. */
export function loadWarning({ load, cores }: Pick<Machine, 'load' | 'cores'>): string | undefined {
  if (load < cores / 2) return undefined
  return `the machine is busy (load ${load.toFixed(1)} on ${cores} cores): take the figures with care`
}
