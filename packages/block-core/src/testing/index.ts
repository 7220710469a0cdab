/**
 * For tests of drivers: the suite that every driver must pass, a model to compare with, power cuts, seeded
 * randomness. Needs vitest.
 * @module
 */

export { PLAIN_CONFIG } from '../contract/node-config.ts'
export {
  type ConcurrencyRun,
  type ConcurrencySubject,
  type ConcurrencyVerb,
  checkVerb,
  reopenVerb,
  runConcurrently,
} from './concurrency.ts'
export type { DriverCapabilities, MakeNode, NodeWish } from './contract-kit.ts'
export { type PlantedBug, plantedBugTests } from './crash-bugs.ts'
export { CrashDisk, type CrashDiskNode } from './crash-disk.ts'
export {
  type Exploration,
  type ExploreOptions,
  exploreCrashes,
  findingText,
  huntCrashes,
} from './crash-explorer.ts'
export { type Change, type Forgets, forgetfulDisk } from './crash-forgetful.ts'
export { CrashGuest, type CrashGuestOptions } from './crash-guest.ts'
export { CRASH_RULES, type CrashFinding, type CrashRule } from './crash-judge.ts'
export { MIXED, type RequestKind, type RequestMix, randomRequests } from './crash-requests.ts'
export { readShown, type Shown, Stamps } from './crash-shown.ts'
export { type CrashDisks, type CrashPlan, type CrashState, crashStates } from './crash-states.ts'
export { type CrashEnvironment, crashTests } from './crash-tests.ts'
export type { CrashAllowance, CrashImage, CrashScene, CrashWorkload } from './crash-workload.ts'
export { driverContract } from './driver-contract.ts'
export {
  FAULT_ERRNOS,
  type Fault,
  FaultGuest,
  type FaultScenario,
  type FaultyDisk,
  faultsAt,
  runWithFault,
} from './fault-loop.ts'
export { FOREIGN_FILES, FORMATS_WITH_DRIVER, latin1 } from './foreign-files.ts'
export { type FormatContract, formatContract } from './format-contract.ts'
export { fullDisk } from './full-disk.ts'
export { ABSENT, type Call, type Effect, History, type Register } from './history.ts'
export {
  type DiscardResult,
  type ModelOperation,
  type ModelRun,
  randomOperations,
  runModel,
} from './model.ts'
export { edgeTo, makeNode, nodeOf, openTestNode, type TestNodeOptions, toBytes } from './nodes.ts'
export { createRandom, freshSeed, type Random } from './random.ts'
export { readOnlyContract } from './read-only-contract.ts'
export { INJECTED, Shaker } from './shaker.ts'
export { stamped, stampsOf } from './stamps.ts'
export { neverWaitForTurns } from './steady-loop.ts'
export {
  type FormatSuite,
  type ImageOptions,
  optionsFor,
  optionsText,
  type TestedFormat,
  type TestedSample,
  type TestedVariety,
} from './tested-format.ts'
export { type TestWrite, writeFilter } from './write-filter.ts'
