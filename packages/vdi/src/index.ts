/**
 * The vdi format for @vmblock/block-core.
 * @module
 */
export { vdi } from './driver.ts'
