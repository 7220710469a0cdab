/**
 * The vmdk format for @vmblock/block-core.
 * @module
 */
export { vmdk } from './driver.ts'
