/**
 * The vhdx format for @vmblock/block-core.
 * @module
 */
export { vhdx } from './driver.ts'
