/**
 * The QED format.
 * @module
 */
export { qed } from './driver.ts'
