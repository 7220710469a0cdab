/** The engines by the names of the option `aio`. */
import { AdaptiveEngine } from './adaptive-engine.ts'
import { type IoEngine, SyncEngine, ThreadEngine } from './io-engine.ts'

/** The kinds of engine, as the option `aio` names them. */
export type EngineName = 'sync' | 'threads' | 'adaptive'

/** Makes the engine for one open file. */
export function makeEngine(name: EngineName): IoEngine {
  if (name === 'sync') return new SyncEngine()
  return name === 'threads' ? new ThreadEngine() : new AdaptiveEngine()
}
