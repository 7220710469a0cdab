/** A row of the table: its description, and how its contestants are made. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Counts } from './counts/counts.ts'
import type { Media, MediumKind } from './media.ts'
import type { Contestant } from './rounds.ts'
import type { Runtime } from './runtimes.ts'

/** The side of QEMU's programs. */
export const QEMU = 'qemu'
/** The side of a script that does nothing, run by a runtime. */
export const emptySide = (runtime: Runtime): string => `empty ${runtime.id}`

/**
 * The criterion of a row. A ratio is QEMU's time divided by ours: more is better. A `start` is our time
 * divided by that of an empty script of the same Node.js: less is better. `flushes` are ours divided by
 * QEMU's: less is better.
 */
export interface Target {
  readonly of: 'ratio' | 'start' | 'flushes'
  readonly must: number
  readonly aim: number
}

/** One row. */
export interface Workload {
  /** Words with dashes; filters match it and the title. */
  readonly id: string
  readonly title: string
  readonly medium: MediumKind
  /** The unit of a sample. */
  readonly unit: 'request' | 'command'
  readonly target?: Target
  /** Whether the row is not built yet: then a failure of ours does not fail the row, which says `later`. */
  readonly isLater?: boolean
  /** Makes what the runs need. */
  prepare(workbench: Workbench): Promise<readonly Contestant[]>
  /** Counts the writes and flushes of each side, apart from the times. */
  count?(workbench: Workbench): Promise<Readonly<Record<string, Counts>>>
}

/** The means of workloads. */
export interface Workbench {
  /** The repository. */
  readonly root: string
  readonly media: Media
  readonly runtimes: readonly Runtime[]
  /** Whether QEMU's programs are installed. */
  readonly hasQemu: boolean
  /** Whether strace is installed, too. */
  readonly canTrace: boolean
  /** Number of requests to make: `full`, or fewer in a smoke run. */
  scale(full: number): number
  /** Bytes of images, likewise. */
  scaleBytes(full: number): number
  /** An image that several rows use, made on first use. @returns its path */
  shared(medium: MediumKind, name: string, make: (path: string) => Promise<void>): Promise<string>
  /** A path for an image of one row. */
  own(medium: MediumKind, name: string): string
  /** Forgets the images of the finished row. */
  clear(): void
}

/** A smoke run makes a hundredth of the requests, on images of a sixteenth of the size. */
const QUICK = { requests: 100, bytes: 16 }

/** Makes a {@link Workbench}. */
export function openWorkbench(
  parts: Pick<Workbench, 'root' | 'media' | 'runtimes' | 'hasQemu' | 'canTrace'>,
  quick: boolean,
): Workbench {
  const shared = new Map<string, Promise<string>>()
  const own = new Set<string>()
  return {
    ...parts,
    scale: (full) => (quick ? Math.ceil(full / QUICK.requests) : full),
    scaleBytes: (full) => (quick ? full / QUICK.bytes : full),
    shared(medium, name, make) {
      const path = join(parts.media[medium].directory, name)
      let made = shared.get(path)
      if (!made) {
        made = make(path).then(() => path)
        shared.set(path, made)
      }
      return made
    },
    own(medium, name) {
      const path = join(parts.media[medium].directory, name)
      own.add(path)
      return path
    },
    clear() {
      for (const path of own) rmSync(path, { force: true })
      own.clear()
    },
  }
}
