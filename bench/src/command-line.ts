/** The command line of the benchmarks. */
import { parseArgs } from 'node:util'

/** What to run. */
export type Part = 'programs' | 'micro' | 'growth' | 'counts' | 'loop'

/** A parsed command line. */
export interface Settings {
  /** The repository. */
  readonly root: string
  readonly part: Part
  /** Rows to run: those with one of the words in their names. Empty: all. */
  readonly words: readonly string[]
  readonly rounds: number
  readonly quick: boolean
  readonly list: boolean
  readonly json: string | undefined
  /** A file; for `growth` a folder. */
  readonly svg: string | undefined
  readonly directory: string | undefined
  readonly memoryDirectory: string | undefined
  /** Further versions of Node.js. */
  readonly runtimes: readonly string[]
  /** Saved results: shown instead of measured. */
  readonly from: string | undefined
  /** Saved results to compare with. */
  readonly compare: string | undefined
}

/** An invalid command line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The output of `--help`. */
export const HELP = `usage: pnpm bench [PART] [WORDS...] [OPTIONS]       (npm run bench -- ...)

parts
  (none)           our programs and QEMU's in turn, with what they must and aim to reach
  counts           what an allocating write costs, in writes, flushes and bytes
  micro            hot functions, in nanoseconds
  growth           how costs grow with size, chain, fragmentation and caches
  loop             how long the event loop stands, and small requests take, beside much work

WORDS select the rows that have one of them in their name.

options
  --rounds N       how often each program has a turn (5)
  --quick          a smoke run: a hundredth of the requests, one round
  --list           names of the rows, and no run
  --json FILE      keeps all results
  --svg FILE       draws them; growth draws into a folder
  --from FILE      shows results kept by --json instead of measuring
  --compare FILE   micro: ratios to results kept by --json
  --dir DIR        where images on a disk are made (the directory for temporary files)
  --memory-dir DIR where images in memory are made (/dev/shm)
  --node VERSION   a column for another Node, too: newest, 22, /path/to/node; may be repeated
  --help           this
`

const PARTS: readonly Part[] = ['micro', 'growth', 'counts', 'loop']
const DEFAULT_ROUNDS = 5

/** Parses a command line. @returns undefined if only help is wanted. @throws UsageError */
export function readCommandLine(root: string, args: readonly string[]): Settings | undefined {
  const { values, positionals } = parse(args.filter((word) => word !== '--'))
  if (values.help) return undefined
  const part = PARTS.find((known) => known === positionals[0])
  const quick = values.quick ?? false
  return {
    root,
    part: part ?? 'programs',
    words: [...positionals.slice(part ? 1 : 0), ...(values.filter ?? [])],
    rounds: values.rounds === undefined ? (quick ? 1 : DEFAULT_ROUNDS) : countOf(values.rounds),
    quick,
    list: values.list ?? false,
    json: values.json,
    svg: values.svg,
    directory: values.dir,
    memoryDirectory: values['memory-dir'],
    runtimes: values.node ?? [],
    from: values.from,
    compare: values.compare,
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        rounds: { type: 'string' },
        quick: { type: 'boolean' },
        list: { type: 'boolean' },
        filter: { type: 'string', multiple: true },
        json: { type: 'string' },
        svg: { type: 'string' },
        from: { type: 'string' },
        compare: { type: 'string' },
        dir: { type: 'string' },
        'memory-dir': { type: 'string' },
        node: { type: 'string', multiple: true },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function countOf(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1) throw new UsageError(`--rounds wants a count, not '${text}'`)
  return count
}
