/** What the guided fuzzer runs: all passes over one image. This module is what is instrumented. */
export { exercise } from '../exercise.ts'
export { diskOf } from '../fuzz.ts'
export { installMeter } from '../meter.ts'
export { makeSmallSeeds } from '../seeds.ts'
