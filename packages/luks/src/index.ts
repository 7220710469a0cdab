/**
 * The luks format for @vmblock/block-core.
 * @module
 */
export { luks } from './driver.ts'
