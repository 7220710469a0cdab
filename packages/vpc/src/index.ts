/**
 * The vpc format for @vmblock/block-core.
 * @module
 */
export { vpc } from './driver.ts'
