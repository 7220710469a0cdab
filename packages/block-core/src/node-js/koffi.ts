/**
 * The system calls of this process, through koffi, an optional peer dependency: if it is not installed, or has no
 * binary for the system, there are none. It is loaded when a call is first looked up, since loading takes
 * milliseconds of a short program's start; {@link systemCallsReport} says why it did not load.
 */
import { existsSync, realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ForeignFunctions } from './foreign-functions.ts'
import type { HostCalls } from './host-calls.ts'
import { hasSystemCalls, makeSystemCalls, type SystemName } from './system-calls.ts'

/** The available calls, or why there are none. */
export interface SystemCallsReport {
  /** The library that makes them, with its version. */
  readonly library?: string | undefined
  /** Names of the available calls, as {@link HostCalls} spells them. */
  readonly calls: readonly string[]
  /** Why there are none. */
  readonly missing?: string | undefined
}

/** Calls that are created when the first is looked up. */
export interface LazySystemCalls {
  readonly calls: HostCalls
  /** Loads the library. */
  report(): SystemCallsReport
}

const NAMES = [
  'punchHole',
  'zeroRange',
  'allocate',
  'seekData',
  'seekHole',
  'copyRange',
  'discardDevice',
  'noCopyOnWrite',
  'locks',
  'aio',
] as const

/** @param load returns the library, or throws: then there are no calls */
export function lazySystemCalls(load: () => ForeignFunctions, system: SystemName = process): LazySystemCalls {
  let loaded: { readonly calls: HostCalls; readonly report: SystemCallsReport } | undefined
  const get = (): NonNullable<typeof loaded> => {
    loaded ??= loadCalls(load, system)
    return loaded
  }
  const calls: HostCalls = {}
  for (const name of NAMES)
    Object.defineProperty(calls, name, { enumerable: true, get: () => get().calls[name] })
  return { calls, report: () => get().report }
}

function loadCalls(
  load: () => ForeignFunctions,
  system: SystemName,
): { readonly calls: HostCalls; readonly report: SystemCallsReport } {
  const none = (missing: string) => ({ calls: {}, report: { calls: [], missing } })
  if (!hasSystemCalls(system)) return none(`nothing is known of ${system.platform} on ${system.arch}`)
  try {
    const ffi = load()
    const calls = makeSystemCalls(ffi, system)
    const names = NAMES.filter((name) => calls[name] !== undefined)
    return { calls, report: { library: `koffi ${ffi.version}`, calls: names } }
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    return none(text.split('\n', 1)[0]!)
  }
}

/** Loads koffi as seen from this file or its bundle, which as CommonJS has no `import.meta`. */
function loadKoffi(): ForeignFunctions {
  const here = typeof __filename === 'string' ? __filename : fileURLToPath(import.meta.url)
  const load = createRequire(here)
  // The loader resolves symbolic links with realpathSync, which in Node 20 stops early if the last statSync
  // of the process was of a pipe or a socket, such as standard output. So call statSync on a regular file
  // first.
  statSync(process.execPath)
  return (loadBinary(load, dirname(here)) ?? load('koffi')) as ForeignFunctions
}

/**
 * Loads the package with koffi's binary for this system. koffi itself is little more than the search for it,
 * which takes more than half of the loading time. The package normally lies beside koffi; if not, koffi finds
 * it.
 */
function loadBinary(load: NodeJS.Require, directory: string): unknown {
  try {
    const above = dirname(directory)
    const koffi = join(directory, 'node_modules', 'koffi')
    if (!existsSync(koffi)) return above === directory ? undefined : loadBinary(load, above)
    const name = `koffi-${process.platform}-${process.arch}`
    const found: Partial<ForeignFunctions> = load(join(realpathSync.native(koffi), '..', '@koromix', name))
    return found.load && found.errno && found.os ? found : undefined
  } catch {
    return undefined
  }
}

const ofThisProcess = lazySystemCalls(loadKoffi)

/** The calls of this process, for the `file` driver. Looking one up loads the library. */
export const systemCalls: HostCalls = ofThisProcess.calls

/** Reports which calls are available, or why none are. Loads the library. */
export const systemCallsReport = (): SystemCallsReport => ofThisProcess.report()
