/**
 * For tests of drivers: the suite that every driver passes, a model to compare with, seeded randomness. Needs vitest.
 * @module
 */
export {
  type ConcurrencyRun,
  type ConcurrencySubject,
  type ConcurrencyVerb,
  checkVerb,
  reopenVerb,
  runConcurrently,
} from './concurrency.ts'
export type { DriverCapabilities, MakeNode, NodeWish } from './contract-kit.ts'
export { CrashGuest } from './crash-guest.ts'
export { type CrashPlan, type CrashState, crashStates } from './crash-states.ts'
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
export { ABSENT, type Call, type Effect, History, type Register } from './history.ts'
export {
  type DiscardResult,
  type ModelOperation,
  type ModelRun,
  randomOperations,
  runModel,
} from './model.ts'
export { DEFAULT_CONFIG, nodeOf, openTestNode, type TestNodeOptions, toBytes } from './nodes.ts'
export { createRandom, freshSeed, type Random } from './random.ts'
export { readOnlyContract } from './read-only-contract.ts'
export { INJECTED, Shaker } from './shaker.ts'
export { stamped, stampsOf } from './stamps.ts'
