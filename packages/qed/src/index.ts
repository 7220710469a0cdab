/**
 * The QED format.
 * @module
 */
export { createQedDriver, type QedDriverOptions, qed } from './driver.ts'
export type { QedClock } from './idle-timer.ts'
