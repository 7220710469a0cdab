/**
 * The dmg format for @vmblock/block-core.
 * @module
 */
export { dmg } from './driver.ts'
