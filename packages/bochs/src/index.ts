/**
 * The bochs format for @vmblock/block-core.
 * @module
 */
export { bochs } from './driver.ts'
