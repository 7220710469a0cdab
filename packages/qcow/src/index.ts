/**
 * The qcow format for @vmblock/block-core.
 * @module
 */
export { qcow } from './driver.ts'
