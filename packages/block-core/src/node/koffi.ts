/**
 * The system calls of this process, through koffi, an optional dependency: where it is not installed, or has no
 * binary for the system, there are none. It is loaded when one of them is first looked at, for that takes
 * milliseconds of a short program's start; what kept it from loading is told to whoever asks.
 */
import { existsSync, realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ForeignFunctions } from './foreign-functions.ts'
import type { HostCalls } from './host-calls.ts'
import { hasSystemCalls, makeSystemCalls, type SystemName } from './system-calls.ts'

/** What is known of the calls of a system. */
export interface SystemCallsReport {
  /** The library that makes them, with its version. */
  readonly library?: string | undefined
  /** Names of the calls that are there, as {@link HostCalls} spells them. */
  readonly calls: readonly string[]
  /** Why there are none. */
  readonly missing?: string | undefined
}

/** Calls that are made when the first is looked at. */
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

/** @param load gives the library, or throws: then there are no calls */
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

/** Found from where this code lies, whatever it is bundled into; as CommonJS it has no `import.meta`. */
function loadKoffi(): ForeignFunctions {
  const here = typeof __filename === 'string' ? __filename : fileURLToPath(import.meta.url)
  const load = createRequire(here)
  // The loader follows symbolic links by realpathSync, which in Node 20 stops early if the last thing that anybody
  // asked statSync about, standard output say, was a pipe or a socket. A file it is, then.
  statSync(process.execPath)
  return (loadBinary(load, dirname(here)) ?? load('koffi')) as ForeignFunctions
}

/**
 * The package with koffi's binary for this system. koffi is little more than the search for it, for a good half of
 * the time that loading takes. It lies beside koffi however that was installed; where it does not, koffi knows better.
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

/** The calls of this process, which the `file` driver makes. Looking at one loads the library. */
export const systemCalls: HostCalls = ofThisProcess.calls

/** Which calls there are, and if there are none why. Loads the library. */
export const systemCallsReport = (): SystemCallsReport => ofThisProcess.report()
